"""How the last calls have ended."""

from __future__ import annotations

import time
from collections import deque

WITHIN_S = 10.0
# What was well for long would else take as long to be known for failing.
MOST = 20


class Window:
    """The calls of the last 10 seconds, at most 20, from the first that failed on.

    So the calls of a service that does not fail are not even counted.
    """

    def __init__(self) -> None:
        self._ended: deque[tuple[float, bool]] = deque(maxlen=MOST)
        self._failed_at = 0.0

    def succeeded(self) -> None:
        """Note a call that was answered."""
        if not self._ended:
            return
        now = time.monotonic()
        if now - self._failed_at > WITHIN_S:
            self._ended.clear()
        else:
            self._ended.append((now, False))

    def failed(self) -> None:
        """Note a call that failed."""
        self._failed_at = time.monotonic()
        self._ended.append((self._failed_at, True))

    def tipped(self, *, least: int, share: float) -> bool:
        """Say whether at least so many calls failed, and at least such a share of all."""
        oldest = time.monotonic() - WITHIN_S
        outcomes = [failed for ended, failed in self._ended if ended >= oldest]
        failures = sum(outcomes)
        return failures >= least and failures >= share * len(outcomes)

    def clear(self) -> None:
        """Forget them."""
        self._ended.clear()
