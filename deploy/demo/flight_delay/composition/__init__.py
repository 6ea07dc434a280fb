"""Two models as one: a cascade and an ensemble of them beside each of them alone, on the same departures."""
