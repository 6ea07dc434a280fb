"""When a call at Triton that nobody waits for any more is cancelled.

Triton 2.51 may abort (an assertion of its gRPC) when a call is cancelled, or its deadline passes, just as it is answered. So
one that is about to be answered is let end: only one that has long to go, or is long overdue, is cancelled.
"""

from __future__ import annotations

from services.mesh.coalescing import Quantile

# What a call is let end in at least, and at most: all of it while nothing is known of how long calls take.
LEAST_S, MOST_S = 0.03, 5.0
# Nobody is answered so much sooner than the quickest tenth are.
_SOONER = 0.5
# Nor does anybody answer who has taken so many times what nearly all take.
_OVERDUE = 10


class Leaving:
    """Learns how long calls of one model take, and says by that when to cancel one. All times are seconds."""

    def __init__(self) -> None:
        self._quick: Quantile | None = None
        self._slow: Quantile | None = None

    def answered(self, seconds: float) -> None:
        """Note how long a call took, whether somebody waited for it or not."""
        if self._quick is None or self._slow is None:
            self._quick, self._slow = Quantile(0.1, start=seconds), Quantile(0.99, start=seconds)
        else:
            self._quick.observe(seconds)
            self._slow.observe(seconds)

    def let_end_s(self, passed_s: float) -> float:
        """Return for how long a call is let end that has been under way for so long; 0: it is cancelled at once."""
        if self._quick is None or self._slow is None:
            return MOST_S
        if passed_s < _SOONER * self._quick.value and self._quick.value - passed_s > LEAST_S:
            return 0.0
        return min(MOST_S, max(LEAST_S, _OVERDUE * self._slow.value - passed_s))

    def computed_in_s(self, passed_s: float) -> float:
        """Return in how many seconds Triton has nearly surely computed a call, cancelled or not; 0: it has."""
        return 0.0 if self._slow is None else max(0.0, self._slow.value - passed_s)
