"""Traces without a tracing backend: a receiver in `up`, and a drawing of one trace in the terminal."""
