"""The model process is killed while departures are asked about, and the endpoint's ladder answers meanwhile."""
