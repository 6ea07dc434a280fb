"""Releases on the replay: 1.1.0 wins its way against 1.0.0, and a broken 1.2.0 is taken back on quality alone."""
