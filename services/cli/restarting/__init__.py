"""Restarting the services of a running `up` one process at a time, so that the others answer meanwhile."""
