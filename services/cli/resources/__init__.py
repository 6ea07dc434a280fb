"""Definitions as YAML: feature views, models, endpoints and versions, to and from the registry's messages."""
