"""The Open Inference Protocol v2: between its messages and our domain."""
