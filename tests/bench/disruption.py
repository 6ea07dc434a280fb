"""What callers notice, at half of the capacity of two processes of each service, when processes are restarted or killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench import rivals
from tests.bench.arrivals import DEGRADED
from tests.bench.fleet import Fleet, replicated
from tests.bench.openloop import offering
from tests.bench.pace import Pace
from tests.bench.report import Figure
from tests.bench.world import World

LOAD = 0.5
_CALLERS = 64
_AFTER_S = 4.0
_RESTART_LIMIT_S = 250
_RESTART = "rolling restart of all services"


@dataclass(frozen=True)
class Disrupted:
    """What came of the calls around it, by status; DEGRADED ones were answered by the policy of their views."""

    what: str
    rate: float
    seconds: float
    outcomes: Mapping[str, int]
    p99_ms: float

    @property
    def failed(self) -> int:
        """Calls without an answer that they may have."""
        return sum(count for status, count in self.outcomes.items() if status not in {"OK", DEGRADED})


def measure(world: World, pace: Pace) -> list[Disrupted]:
    """Kill every process of Triton, the store and the registry, which come back by themselves, then restart all services."""
    with replicated(world, triton=True) as fleet:
        rate = LOAD * pace.press(fleet.rival, world.work.requests(1), _CALLERS).per_second
        found = [
            _disrupted(fleet, rate, f"{service} killed", _killing(fleet, service))
            for service in ("triton", "valkey", "registry")
            if fleet.pids(service)
        ]
        return [
            *found,
            _disrupted(
                fleet,
                rate,
                _RESTART,
                lambda: rivals.run("restart", "--data", str(fleet.data), timeout_s=_RESTART_LIMIT_S),
            ),
        ]


def _disrupted(fleet: Fleet, rate: float, what: str, act: Callable[[], object]) -> Disrupted:
    with offering(fleet.rival.target, rate) as ended:
        time.sleep(1)
        act()
        time.sleep(_AFTER_S)
        found = ended()
    print(f"{what}: {found.outcomes}", file=sys.stderr)
    return Disrupted(what, rate, found.seconds, found.outcomes, found.percentile_ms(99))


def _killing(fleet: Fleet, service: str) -> Callable[[], None]:
    def kill() -> None:
        for pid in fleet.pids(service):
            os.kill(pid, signal.SIGKILL)

    return kill


def figures(found: Sequence[Disrupted]) -> list[Figure]:
    """Return how many calls failed; none may."""
    return [Figure(f"calls failed of {sum(one.outcomes.values()):,}: {one.what}", [one.failed], "", 0) for one in found]
