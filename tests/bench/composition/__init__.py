"""What compositions and fallback ladders cost beside the same calls without them, and how soon a step is taken."""
