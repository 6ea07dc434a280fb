"""Services of two processes each, which are restarted under load."""
