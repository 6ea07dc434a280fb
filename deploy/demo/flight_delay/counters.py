"""Exponentially decayed counters of lateness: constant time and space per key, whatever the history."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

MAX_DELAY_MIN = 180


class LatenessCounters:
    """Late departures, minutes of delay and departures of each key, decayed at one or more half-lives.

    A key's state is exact at its last event and is decayed only when it is next used, here or by a reader who knows
    the time of that event. Events of a key must come in the order of time.
    """

    def __init__(self, half_lives_s: Sequence[float]) -> None:
        self._rates = [math.log(2) / half_life for half_life in half_lives_s]
        self._states: dict[Hashable, tuple[int, list[float]]] = {}

    def add(self, key: Hashable, time_us: int, late: bool, delay_min: float) -> list[float]:
        """Count one departure; the new state: late, delay, weight of each half-life in turn."""
        last, state = self._states.get(key, (time_us, [0.0] * (3 * len(self._rates))))
        elapsed_s = (time_us - last) / 1e6
        delay = min(delay_min, MAX_DELAY_MIN)
        updated: list[float] = []
        for index, rate in enumerate(self._rates):
            kept = math.exp(-rate * elapsed_s)
            sums = state[3 * index : 3 * index + 3]
            updated += [sums[0] * kept + late, sums[1] * kept + delay, sums[2] * kept + 1.0]
        self._states[key] = (time_us, updated)
        return updated
