"""What was seen lately, in bounded memory."""

from __future__ import annotations

from collections.abc import Hashable


class Recent:
    """Knows at least the last `least` things, and at most twice as many.

    By their hashes of 64 bits, a few megabytes of them: that two of 100,000 are the same happens once in 10^9 gateways.
    """

    def __init__(self, least: int = 50_000) -> None:
        self._least = least
        self._now: set[int] = set()
        self._before: set[int] = set()

    def add(self, thing: Hashable) -> bool:
        """Note a thing; return whether it is new."""
        mark = hash(thing)
        if mark in self._now or mark in self._before:
            return False
        if len(self._now) >= self._least:
            self._before, self._now = self._now, set()
        self._now.add(mark)
        return True
