"""The command line against a running `up`."""
