"""Releases on the command line: their plans, how they stand, and how to follow them."""
