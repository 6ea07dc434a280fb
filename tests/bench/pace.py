"""Closed-loop runs that last about as long as they shall, whoever is under load."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.bench.h2load import CONNECTIONS
from tests.bench.pressure import Pressed, press
from tests.bench.rivals import Rival
from tests.bench.workload import Floats

_FIRST_CALLS = 20
_FEWEST_CALLS = 4


class Pace:
    """Makes so many calls as take `seconds`, judged by the run before; before the first is one that counts for nothing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._rates: dict[tuple[str, int, str], float] = {}

    def press(self, rival: Rival, requests: Sequence[tuple[bytes, Floats]], callers: int, what: str = "") -> Pressed:
        """Press, and return what came of it; `what` tells kinds of requests apart."""
        key = (rival.name, callers, what)
        if key not in self._rates:
            self._rates[key] = press(rival, requests, callers, callers * _FIRST_CALLS).per_second
        share = min(callers, CONNECTIONS)
        calls = max(callers * _FEWEST_CALLS, round(self._rates[key] * self._seconds / share) * share)
        found = press(rival, requests, callers, calls)
        self._rates[key] = found.per_second
        print(f"{rival.name:>22} {callers:>3} callers {what:<12} {found.per_second:8,.0f}/s", file=sys.stderr)
        return found
