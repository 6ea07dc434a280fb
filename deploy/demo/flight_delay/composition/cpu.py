"""The CPU time of running services, user and system of all their threads together (Linux)."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from services.cli.errors import Failure
from services.cli.targets import read_up

SERVICES = ("gateway", "features", "model")
"""Those that a prediction passes through."""
TOGETHER = "services"
"""Name of the one process that is all of them."""


class CpuClock:
    """Reads what the processes of the `up` on `data` have used since it was made, in nanoseconds and half a microsecond.

    `names` are the services in the order in which they are read. Failure if one has no process, or another since.
    """

    def __init__(self, data: Path) -> None:
        pids = read_up(data).get("pids", {})
        if missing := [name for name in SERVICES if not pids.get(name)]:
            raise Failure(f"no process of {', '.join(missing)}")
        found = {name: pids[name][0] for name in SERVICES}
        if len(set(found.values())) == 1:
            found = {TOGETHER: found[SERVICES[0]]}
        self.names = tuple(found)
        self._clocks = [_clock_of(pid) for pid in found.values()]

    def read(self) -> list[int]:
        """Return nanoseconds of each service."""
        try:
            return [time.clock_gettime_ns(clock) for clock in self._clocks]
        except OSError as error:
            raise Failure(f"a service has ended: {error.strerror}") from error


def _clock_of(pid: int) -> int:
    """Return the number of the clock that `time` reads a process's CPU time by."""
    clock = ctypes.c_int()
    if error := ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise Failure(f"the CPU time of process {pid} cannot be read: {os.strerror(error)}")
    return clock.value
