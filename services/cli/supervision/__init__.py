"""Running all services on one machine: start, wait until ready, restart what dies, stop in order."""
