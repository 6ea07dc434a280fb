"""The circuit breaker: whether what fails is asked."""

from __future__ import annotations

import pybreaker

from services.mesh.resilience.window import Window

LEAST = 5
SHARE = 0.5


class Breaker:
    """Opens when `least` calls have failed that are the `share` of all in the window, or at once for a certain cause.

    pybreaker holds the state; what changes it is decided here. Nobody's call is the probe: who owns the breaker tries what
    failed by himself, one try at a time, and closes it.
    """

    def __init__(self, *, least: int = LEAST, share: float = SHARE) -> None:
        self._least = least
        self._share = share
        self._storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        self._window = Window()
        self.closed = True
        """Whether calls may go there."""

    @property
    def state(self) -> str:
        """closed, open, or half-open while it is tried."""
        return self._storage.state

    def succeeded(self) -> None:
        """Note a call that was answered."""
        self._window.succeeded()

    def failed(self, *, certain: bool = False) -> bool:
        """Note a call that failed, and say whether that opened the breaker."""
        self._window.failed()
        if not self.closed or not (certain or self._window.tipped(least=self._least, share=self._share)):
            return False
        self._storage.state = pybreaker.STATE_OPEN
        self.closed = False
        return True

    def probing(self) -> None:
        """Note that it is being tried."""
        self._storage.state = pybreaker.STATE_HALF_OPEN

    def still_failing(self) -> None:
        """Note that the try failed."""
        self._storage.state = pybreaker.STATE_OPEN

    def close(self) -> None:
        """Let calls go there again."""
        self._storage.state = pybreaker.STATE_CLOSED
        self._window.clear()
        self.closed = True
