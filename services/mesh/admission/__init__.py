"""How many calls are let in at once: a limit that follows what the service can do, and who goes first when it is reached."""
