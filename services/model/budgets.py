"""How little time calls have brought lately."""

from __future__ import annotations

import math

_WINDOW_S = 1.0


class ShortestBudget:
    """The shortest time that a call of the last second or two had when it came."""

    def __init__(self) -> None:
        self._current = self._before = math.inf
        self._since = 0.0

    def saw(self, seconds: float, now: float) -> None:
        """Take in what a call brings."""
        self._turn(now)
        if 0 < seconds < self._current:
            self._current = seconds

    def shortest_s(self, now: float) -> float:
        """Say the shortest, in seconds; infinite when no call came."""
        self._turn(now)
        return min(self._current, self._before)

    def _turn(self, now: float) -> None:
        passed = now - self._since
        if passed < _WINDOW_S:
            return
        self._before = self._current if passed < 2 * _WINDOW_S else math.inf
        self._current, self._since = math.inf, now
