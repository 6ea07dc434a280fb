"""What a call has taken beyond one attempt at a replica of free choice."""

from __future__ import annotations

from typing import NamedTuple


class Effort(NamedTuple):
    """What provenance tells of a hop; all of it is 0 for nearly every call."""

    retries: int = 0
    """Attempts after the first, made because that failed."""
    hedged: bool = False
    """Whether a second replica was asked because the first was slow."""
    breakers_open: int = 0
    """Replicas that were not asked, since their circuit breaker was open."""

    def joined(self, other: Effort) -> Effort:
        """Return what two calls of a hop have taken."""
        return Effort(
            self.retries + other.retries,
            self.hedged or other.hedged,
            max(self.breakers_open, other.breakers_open),
        )


NO_EFFORT = Effort()
