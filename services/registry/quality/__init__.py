"""Predictions against what came true."""
