"""How many calls may be made again."""

from __future__ import annotations


class RetryBudget:
    """A token bucket that each call fills by a fraction and each call made again empties by one.

    So calls made again are at most that fraction of recent calls, of which `most` is the memory: 100 tokens are saved by
    a thousand calls. It starts with `start`, since the first calls of a process may meet a replica that just leaves.
    """

    def __init__(self, *, fraction: float = 0.1, most: float = 100, start: float = 10) -> None:
        self._fraction = fraction
        self._most = most
        self._tokens = start

    def called(self) -> None:
        """Count a first attempt."""
        if self._tokens < self._most:
            self._tokens += self._fraction

    def take(self) -> bool:
        """Return whether one more call may be made, and count it."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
