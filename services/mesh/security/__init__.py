"""Who is at the other end, and that nobody listens or pretends: certificates, and what callers may do."""
