"""Finds out whether a higher limit would bring more answers, by trying one for a moment."""

from __future__ import annotations

import enum

# How much higher the limit is that is tried, and the gain in answers a second that makes it worth its longer waits.
STEP = 1.5
WORTH = 1.12
# Each side of a comparison lasts so long, and so many times as long as a call: what travels in batches comes in few pieces.
LEAST_S = 0.5
LATENCIES = 10
# Time to the next trial; twice as long after each that was not worth it.
REST_S = 2.0
LONGEST_REST_S = 32.0


class _Phase(enum.Enum):
    RESTING = enum.auto()
    BEFORE = enum.auto()
    SETTLING = enum.auto()
    AFTER = enum.auto()


class Climb:
    """Compares the answers a second at a limit, `base`, and at one that is `STEP` times as high.

    It is told the figures of one window of time after the other. Times are in seconds of one clock.
    """

    def __init__(self) -> None:
        self._phase = _Phase.RESTING
        self._rest_s = REST_S
        self._next = 0.0
        self._per_second = 0.0
        self.base = 0.0

    @property
    def running(self) -> bool:
        """Whether a trial is under way."""
        return self._phase is not _Phase.RESTING

    @property
    def limit(self) -> float:
        """The limit that the trial is to be run at, as far as it has come."""
        return self.base * STEP if self._phase in (_Phase.SETTLING, _Phase.AFTER) else self.base

    def window_s(self, latency_s: float) -> float:
        """Return how long the window to come has to be at least, where a call takes `latency_s`."""
        compares = self._phase in (_Phase.BEFORE, _Phase.AFTER)
        return max(LEAST_S, LATENCIES * latency_s) if compares else 0.0

    def is_due(self, now: float) -> bool:
        """Return whether it is time for another trial."""
        return now >= self._next

    def begin(self, base: float) -> None:
        """Begin a trial with the window to come."""
        self.base, self._phase = base, _Phase.BEFORE

    def observe(self, per_second: float, now: float) -> bool | None:
        """Take a window of the trial into account; return whether the higher limit was worth it, None before the end."""
        if self._phase is _Phase.BEFORE:
            self._per_second, self._phase = per_second, _Phase.SETTLING
            return None
        if self._phase is _Phase.SETTLING:
            self._phase = _Phase.AFTER
            return None
        self._phase = _Phase.RESTING
        worth = per_second > self._per_second * WORTH
        self._rest_s = REST_S if worth else min(2 * self._rest_s, LONGEST_REST_S)
        self._next = now if worth else now + self._rest_s
        return worth

    def reset(self, now: float) -> None:
        """Break off: there is nothing to gain while nobody is refused."""
        self._phase, self._rest_s, self._next = _Phase.RESTING, REST_S, now + REST_S
