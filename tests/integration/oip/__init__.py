"""MLServer as a runtime."""
