"""Whether a trial had the machine: what others take of its time cannot be told from what a fault costs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil

from tests.chaos.harness.fleet import Fleet

# The part of the machine's time that others may take, and that must be left over, for figures to mean something.
OTHERS, IDLE = 0.25, 0.1


@dataclass
class Machine:
    """Processor time from when it was made: of the fleet and the test, and of all."""

    fleet: Fleet
    _seen: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began, self._times = time.monotonic(), psutil.cpu_times()
        self._first = self._own()

    def look(self) -> None:
        """Take note of processes that may have ended by the next look."""
        self._own()

    @property
    def taken(self) -> bool:
        """Whether others took so much that nothing was left over."""
        all_s = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        now = psutil.cpu_times()
        idle_s = now.idle + now.iowait - self._times.idle - self._times.iowait
        others_s = all_s - idle_s - (self._own() - self._first)
        return others_s > OTHERS * all_s and idle_s < IDLE * all_s

    def _own(self) -> float:
        """Seconds that the test and every process of the fleet seen so far have used."""
        for pid in (os.getpid(), *_with_children(self.fleet.all_pids)):
            with contextlib.suppress(psutil.NoSuchProcess):
                used = psutil.Process(pid).cpu_times()
                self._seen[pid] = used.user + used.system
        return sum(self._seen.values())


def _with_children(pids: Iterable[int]) -> Iterable[int]:
    for pid in pids:
        yield pid
        with contextlib.suppress(psutil.NoSuchProcess):
            yield from (child.pid for child in psutil.Process(pid).children(recursive=True))
