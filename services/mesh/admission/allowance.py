"""So many a second: a bucket of tokens that fills with time."""

from __future__ import annotations

import time
from collections.abc import Callable

# What may come at once after a time without use, in seconds of the rate.
SAVED_S = 0.1


class Allowance:
    """Counts what is used of `per_second`; what was not may be used later, but no more than that of `saved_s` seconds.

    `clock` is in seconds.
    """

    def __init__(
        self, per_second: float, *, saved_s: float = SAVED_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._most = per_second * saved_s
        self._clock = clock
        self._tokens = self._most
        self._filled = clock()

    def left(self) -> int:
        """Return how many may be used now."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._filled) * self._per_second)
        self._filled = now
        return int(self._tokens)

    def use(self) -> None:
        """Use one, also beyond what is left, which is owed then."""
        self._tokens -= 1
