"""The `predictmesh` command: a client of the services like any other, and `up`, which runs them on one machine."""
