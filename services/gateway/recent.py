"""Ids seen lately, in bounded memory."""

from __future__ import annotations


class RecentIds:
    """Knows at least the last `least` ids, and at most twice as many."""

    def __init__(self, least: int = 50_000) -> None:
        self._least = least
        self._now: set[str] = set()
        self._before: set[str] = set()

    def add(self, name: str) -> bool:
        """Note `name`; return whether it is new."""
        if name in self._now or name in self._before:
            return False
        if len(self._now) >= self._least:
            self._before, self._now = self._now, set()
        self._now.add(name)
        return True
