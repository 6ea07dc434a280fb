"""The registry's log on the command line: reading it, following it, and telling it in words."""
