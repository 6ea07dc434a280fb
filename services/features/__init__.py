"""The feature service: owner of feature values."""
