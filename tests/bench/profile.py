"""`make profile`: where the CPU of a service of the mesh goes under load, by thread and, of its event loop, by file.

By thread it is what the kernel counted, in microseconds a prediction. By file it is samples of py-spy: a sample counts
for the file of the innermost Python frame. What has none under the loop is C: the loop, gRPC's core, and its Cython.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
from rich.table import Table

from tests.bench.closed import CALLERS
from tests.bench.pace import Pace
from tests.bench.pressure import press
from tests.bench.report import console
from tests.bench.rivals import Rival
from tests.bench.stacks.running import ENVIRONMENT
from tests.bench.workload import Workload
from tests.bench.world import open_world

_SECONDS = 8.0
_RATE = 100
_SHOWN, _LEAST_US = 25, 0.5
_LOOP = "asyncio/runners.py"


def main() -> None:
    """Profile one service, and print both tables."""
    parser = argparse.ArgumentParser(prog="make profile", description=__doc__)
    parser.add_argument("service", nargs="?", default="gateway", choices=("gateway", "features", "model"))
    parser.add_argument("--callers", type=int, default=32, help=f"in a closed loop; the bench has {CALLERS}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, open_world(Path(directory), alone=True) as world:
        pid = world.mesh.pids[arguments.service][0]
        console().print(_by_thread(world.mesh, world.work, pid, arguments.callers))
        samples = Path(directory) / "samples.txt"
        _sample(world.mesh, world.work, pid, arguments.callers, samples)
        console().print(_by_file(samples))


def _by_thread(mesh: Rival, work: Workload, pid: int, callers: int) -> Table:
    requests = work.requests(1)
    warm = Pace(1).press(mesh, requests, callers)
    before = _threads(pid)
    found = press(mesh, requests, callers, round(warm.per_second * _SECONDS))
    after = _threads(pid)
    table = Table("thread", "user, us", "system, us", title=f"CPU a prediction, {found.per_second:,.0f} a second")
    per_call = 1e6 / found.answered
    for thread in sorted(before.keys() & after.keys(), key=lambda one: sum(before[one]) - sum(after[one])):
        user, system = (per_call * (end - start) for start, end in zip(before[thread], after[thread], strict=True))
        if user + system >= _LEAST_US:
            table.add_row(_name(pid, thread), f"{user:.1f}", f"{system:.1f}")
    return table


def _threads(pid: int) -> dict[int, tuple[float, float]]:
    return {thread.id: (thread.user_time, thread.system_time) for thread in psutil.Process(pid).threads()}


def _name(pid: int, thread: int) -> str:
    return "event loop" if thread == pid else Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()


def _sample(mesh: Rival, work: Workload, pid: int, callers: int, samples: Path) -> None:
    pace = Pace(_SECONDS * 1.5)
    pace.press(mesh, work.requests(1), callers)
    options = ["--pid", str(pid), "--duration", str(round(_SECONDS)), "--rate", str(_RATE), "--threads"]
    command = [str(ENVIRONMENT / "bin/py-spy"), "record", *options, "--format", "raw", "--output", str(samples)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        pace.press(mesh, work.requests(1), callers)


def _by_file(samples: Path) -> Table:
    counts = Counter[str]()
    for file, count in _innermost(samples.read_text()):
        counts[file] += count
    total = counts.total()
    table = Table("file", "share", title=f"the event loop by file, {total} samples")
    for file, count in counts.most_common(_SHOWN):
        table.add_row("the loop and gRPC, in C" if file == _LOOP else file, f"{count / total:.1%}")
    return table


def _innermost(raw: str) -> Iterator[tuple[str, int]]:
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if "MainThread" in thread and frames:
            yield frames[-1].rpartition("(")[2].rpartition(":")[0], int(count)


if __name__ == "__main__":
    main()
