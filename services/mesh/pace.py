"""How long a replica lately takes for a call."""

from __future__ import annotations

import math

# How much of a call's time goes into the mean.
WEIGHT = 0.3
# Half of what is known is forgotten in so much time: a replica that is not called for being slow is tried again.
HALF_LIFE_S = 1.0


class Pace:
    """A moving mean of the time that calls take, in seconds, which fades while none is made; `now` is monotonic time."""

    __slots__ = ("_at", "known_s")

    def __init__(self) -> None:
        self.known_s = 0.0
        """What a call took when one was last made; 0 while nothing is known."""
        self._at = 0.0

    def seconds(self, now: float) -> float:
        """Return what a call takes, as far as that is still held against the replica."""
        return self.known_s * math.exp2((self._at - now) / HALF_LIFE_S)

    def took(self, seconds: float, now: float) -> None:
        """Take the time of a call that was answered into account."""
        known = self.seconds(now)
        self.known_s = known + WEIGHT * (seconds - known) if known else seconds
        self._at = now

    def took_at_least(self, seconds: float, now: float) -> None:
        """Take a call into account that nobody waits for any more, before it was answered."""
        # If it is less than what is known, that still stands.
        self.known_s = max(self.known_s, seconds)
        self._at = now
