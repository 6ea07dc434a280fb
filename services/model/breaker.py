"""Whether a runtime is well enough to be asked."""

from __future__ import annotations

import time
from collections import deque

import pybreaker

_WINDOW_S = 10.0
# Batches at one runtime are few and large, so that a few failures tell enough.
_FAILURES = 3
_SHARE = 0.5


class Breaker:
    """Open after 3 failures that are half of what the last 10 seconds brought, or at once where the cause is certain.

    pybreaker holds the state; what opens it is decided here, by the monotonic clock. Nobody's rows are the probe: who
    owns the breaker tries the runtime by himself, one try at a time, and closes it.
    """

    def __init__(self) -> None:
        self._storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        self._recent: deque[tuple[float, bool]] = deque(maxlen=100)
        self.closed = True
        """Whether batches may go there."""

    @property
    def state(self) -> str:
        """closed, open, or half-open while it is tried."""
        return self._storage.state

    def succeeded(self) -> None:
        """Note a batch that was answered."""
        if self._recent:
            self._recent.append((time.monotonic(), True))

    def failed(self, *, certain: bool) -> bool:
        """Note a batch that was not answered, and say whether that opened the breaker."""
        now = time.monotonic()
        self._recent.append((now, False))
        if not self.closed:
            return False
        outcomes = [well for when, well in self._recent if now - when < _WINDOW_S]
        failures = outcomes.count(False)
        if not certain and (failures < _FAILURES or failures < _SHARE * len(outcomes)):
            return False
        self._storage.state = pybreaker.STATE_OPEN
        self.closed = False
        return True

    def probing(self) -> None:
        """Note that the runtime is being tried."""
        self._storage.state = pybreaker.STATE_HALF_OPEN

    def still_failing(self) -> None:
        """Note that the try failed."""
        self._storage.state = pybreaker.STATE_OPEN

    def close(self) -> None:
        """Let batches go there again."""
        self._storage.state = pybreaker.STATE_CLOSED
        self._recent.clear()
        self.closed = True
