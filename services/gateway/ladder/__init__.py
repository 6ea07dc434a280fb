"""The fallback ladder: what answers rows that the version of the route fails."""
