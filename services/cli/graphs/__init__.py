"""Composed versions and fallback ladders for people: what they are made of, and what goes along each edge."""
