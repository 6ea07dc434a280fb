"""Runnable demonstrations on real data."""
