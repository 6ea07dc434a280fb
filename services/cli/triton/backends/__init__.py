"""Backends of our own for a Triton that has no native ones. They run in Triton's Python processes, not in ours."""
