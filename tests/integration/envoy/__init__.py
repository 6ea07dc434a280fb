"""The services behind Envoy."""
