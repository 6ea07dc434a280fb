"""Traces, metrics and logs of every service."""
