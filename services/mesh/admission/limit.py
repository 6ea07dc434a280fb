"""A limit of the calls under way that follows what the service can do.

While nobody is refused it learns how long a call takes, and is out of the way: as many callers as `most` may ask at once,
each when he has his answer, and the service is but busy. When calls are refused more come than can be answered, and all
that are let in beyond need only wait: the limit follows the latency, down until a call takes `TOLERANCE` times as long as
it does at other times, and up again when it takes less. How long that is may have been learnt in quiet times, or have
changed since; so it tries now and then whether a higher limit brings more answers, and if so, allows for the time they take.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from services.mesh.admission.climbing import Climb

# How many times as long as usual a call may take while others are refused.
TOLERANCE = 2.5
# No call is refused to make others faster than so: alone they may be, but it is in company that a service does most.
LEAST_TARGET_S = 0.02
# What a call is taken to last before any was answered.
START_S = 0.01
# The limit is set anew after so long, when so many of the calls let in meanwhile have been answered, whose latency is
# that of this limit. No sooner than so many of them can have been.
WINDOW_S = 0.1
WINDOW_CALLS = 30
LATENCIES = 2
# A slow service fills no window by count. Long after the last refusal it must not look like a recent one.
LONGEST_WINDOW_S = 5.0
# By how much the limit rises at once: while calls are refused, and when none is any more.
RISE, RELAX = 1.1, 1.25
# How fast the usual latency follows what is observed: a limit that comes a little late makes many calls slow before it.
QUICKER_S, SLOWER_S = 2.0, 60.0
# Up to so many times the target, latency is near it; and a trial of a higher limit says something.
SETTLED = 1.25


class AdaptiveLimit:
    """Tell it of each call that was answered, and of each that was refused; read `value`.

    `most` is the value at rest, and `least` what it does not fall below. `clock` is in seconds.
    """

    def __init__(self, most: int, *, least: int = 16, clock: Callable[[], float] = time.monotonic) -> None:
        self.value = most
        self._most, self._least = most, min(least, most)
        self._clock = clock
        self._usual_s: float | None = None
        self._target_s = TOLERANCE * START_S
        self.latency_s = START_S
        """Mean time of a call in the last window."""
        self._climb = Climb()
        self._open(clock(), 0.0)

    def answered(self, seconds: float) -> None:
        """Note a call that was answered after `seconds`."""
        now = self._clock()
        self._answers += 1
        if now - seconds >= self._start:
            self._calls += 1
            self._seconds += seconds
        if now >= self._end and (self._calls >= WINDOW_CALLS or now - self._start > LONGEST_WINDOW_S):
            self._close(now)

    def refused(self) -> None:
        """Note a call that was refused for this limit."""
        self._pressed = True

    def _open(self, now: float, length_s: float) -> None:
        self._start, self._end = now, now + max(WINDOW_S, LATENCIES * self.latency_s, length_s)
        self._answers = self._calls = 0
        self._seconds = 0.0
        self._pressed = False

    def _close(self, now: float) -> None:
        if self._calls:
            self.latency_s = self._seconds / self._calls
            elapsed = now - self._start
            if self._pressed:
                self._press(now, self._answers / elapsed)
            else:
                self._relax(now, elapsed)
        self._open(now, self._climb.window_s(self.latency_s))

    def _relax(self, now: float, elapsed: float) -> None:
        """Learn how long a call takes, and get out of the way."""
        if self._usual_s is None:
            self._usual_s = self.latency_s
        followed_s = QUICKER_S if self.latency_s < self._usual_s else SLOWER_S
        self._usual_s += (self.latency_s - self._usual_s) * min(1.0, elapsed / followed_s)
        self._target_s = max(LEAST_TARGET_S, TOLERANCE * self._usual_s)
        self._climb.reset(now)
        self._set(self.value * RELAX)

    def _press(self, now: float, per_second: float) -> None:
        """Keep calls as fast as they should be, or find out that slower ones would be more."""
        if self._climb.running:
            self._try(now, per_second)
        elif self._may_climb(now):
            self._climb.begin(self.value)
        elif self.latency_s > SETTLED * self._target_s:
            # So many are under way on average where so many are answered that take no longer than they should (Little).
            self._set(min(self.value, per_second * self._target_s))
        else:
            self._set(self.value * min(RISE, self._target_s / self.latency_s))

    def _may_climb(self, now: float) -> bool:
        if self.value <= self._least:
            # A service that is slow by itself is not made faster by asking less of it.
            return self.latency_s > SETTLED * self._target_s or self._climb.is_due(now)
        return self.latency_s < SETTLED * self._target_s and self._climb.is_due(now)

    def _try(self, now: float, per_second: float) -> None:
        worth = self._climb.observe(per_second, now)
        if worth is None:
            self._set(self._climb.limit)
        elif worth:
            self._target_s = max(self._target_s, self.latency_s)
        else:
            self._set(self._climb.base)

    def _set(self, value: float) -> None:
        self.value = round(min(self._most, max(self._least, value)))
