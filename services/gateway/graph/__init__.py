"""Composed versions: their graph, and how gateways compute it batch by batch."""
