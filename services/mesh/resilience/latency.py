"""How long calls of a hop take."""

from __future__ import annotations

from services.mesh.coalescing import START_S, Quantile


class Latency:
    """The durations that most and nearly all answered calls stay below, in seconds, as far as they are known."""

    __slots__ = ("_p95", "_p99")

    def __init__(self) -> None:
        self._p95 = Quantile(0.95, start=START_S)
        self._p99 = Quantile(0.99, start=START_S)

    @property
    def p95_s(self) -> float:
        """What 19 of 20 calls take at most."""
        return self._p95.value

    @property
    def p99_s(self) -> float:
        """What 99 of 100 calls take at most."""
        return self._p99.value

    def observe(self, seconds: float) -> None:
        """Take the duration of a call that was answered into account; greater than 0."""
        self._p95.observe(seconds)
        self._p99.observe(seconds)
