"""The registry: owner of all definitions, in one append-only log."""
