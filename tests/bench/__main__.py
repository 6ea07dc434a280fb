"""`make bench`: every rival under the same load in one run, interleaved, every answer checked."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import rivals, workload, writes
from tests.bench.pressure import Pressed, press
from tests.bench.report import Figure, Run, of, show, write
from tests.bench.rivals import Rival

# Calls in a run by the number of callers: a second or more for each rival.
CALLS = {1: 800, 8: 3000, 32: 6000, 64: 6000}


@dataclass(frozen=True)
class World:
    """All rivals, up at the same time: who is not asked costs nothing."""

    ceiling: Rival
    naive: Rival
    monolith: Rival
    mesh: Rival

    @property
    def all(self) -> tuple[Rival, ...]:
        """Every rival, in the order of the table."""
        return (self.ceiling, self.naive, self.monolith, self.mesh)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="counted time of the runs with 256 rows")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each rival under each load")
    parser.add_argument("--out", type=Path, default=Path("tests/bench/results/latest.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        runs, figures = _measure(Path(directory), arguments.seconds, arguments.repeats)
    show(runs, figures)
    write(arguments.out, runs, figures)


def _measure(directory: Path, seconds: float, repeats: int) -> tuple[list[Run], list[Figure]]:
    made = directory / "workload"
    made.mkdir()
    work = workload.make(made)
    request = work.requests(1)[0][0]
    runs: list[Run] = []
    with _world(directory, made, request) as world:
        memory = rivals.memory_mib([pid for pids in world.mesh.pids.values() for pid in pids])
        for _ in range(repeats):
            for callers, calls in CALLS.items():
                runs += [_press(rival, work, callers, calls) for rival in world.all]
            runs.append(_load(world.mesh, 256, seconds))
        rates = [asyncio.run(writes.rows_per_second(world.mesh.features, batches=100)) for _ in range(repeats)]
    starts = [rivals.start_to_answer(directory / "mesh", request) for _ in range(min(3, repeats))]
    return runs, [*_figures(runs), *_others(runs, rates, memory, starts)]


@contextmanager
def _world(directory: Path, made: Path, request: bytes) -> Iterator[World]:
    with ExitStack() as stack:
        mesh = stack.enter_context(rivals.running_up("mesh", directory / "mesh"))
        rivals.define(directory / "mesh", made)
        monolith = stack.enter_context(rivals.running_up("monolith", directory / "mono", "--topology", "monolith"))
        rivals.define(directory / "mono", made)
        naive = stack.enter_context(rivals.naive(mesh, directory / "mesh"))
        for rival in (mesh, monolith, naive):
            rivals.await_answer(rival.target, request)
        yield World(stack.enter_context(rivals.ceiling()), naive, monolith, mesh)


def _press(rival: Rival, work: workload.Workload, callers: int, calls: int) -> Run:
    found = press(rival, [request for request, _ in work.requests(1)], callers, calls)
    return _run(rival, callers, 1, found)


def _load(rival: Rival, rows: int, seconds: float) -> Run:
    """One caller, whose every answer is checked: for large answers the client's cost matters little."""
    pids = [pid for found in rival.pids.values() for pid in found]
    command = [sys.executable, "-m", "tests.bench.load", rival.target, "--callers", "1", "--rows", str(rows),
               "--seconds", str(seconds), "--pids", *map(str, pids)]  # fmt: skip
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if found["wrong"] or found["failed"] or not found["answered"]:
        raise SystemExit(f"{rival.name} with {rows} rows: {found}")
    cpu = {int(pid): used for pid, used in found["cpu_us"].items()}
    return _run(rival, 1, rows, Pressed(found["answered"], found["per_second"], found["p50_ms"], found["p99_ms"], cpu))


def _run(rival: Rival, callers: int, rows: int, found: Pressed) -> Run:
    print(f"{rival.name:>10} {callers:>3} callers {rows:>3} rows: {found.per_second:8,.0f}/s", file=sys.stderr)
    cpu = {service: sum(found.cpu_us[pid] for pid in pids) for service, pids in rival.pids.items()}
    return Run(rival.name, callers, rows, found.per_second, found.p50_ms, found.p99_ms, cpu)


def _figures(runs: Sequence[Run]) -> list[Figure]:
    def ratios(callers: int) -> list[float]:
        pairs = zip(of(runs, "mesh", callers), of(runs, "ceiling", callers), strict=True)
        return [mesh.total_cpu_us / ceiling.total_cpu_us for mesh, ceiling in pairs]

    beside_naive = zip(of(runs, "mesh", 32), of(runs, "naive mesh", 32), strict=True)
    beside_monolith = zip(of(runs, "mesh", 1), of(runs, "monolith", 1), strict=True)
    return [
        Figure("CPU a prediction beside an empty call, 32 callers", ratios(32), "x", 2.5),
        Figure("CPU a prediction beside an empty call, 64 callers", ratios(64), "x", 2.0),
        Figure(
            "throughput beside the same services calling once per request, 32 callers",
            [mesh.per_second / naive.per_second for mesh, naive in beside_naive], "x", 3, at_most=False,
        ),
        Figure(
            "p50 at one caller, mesh minus monolith",
            [mesh.p50_ms - monolith.p50_ms for mesh, monolith in beside_monolith], "ms", 1.5,
        ),
    ]  # fmt: skip


def _others(runs: Sequence[Run], rates: list[float], memory: float, starts: list[float]) -> list[Figure]:
    rows = [run.total_cpu_us / 256 for run in of(runs, "mesh", 1, rows=256)]
    return [
        Figure("256 rows in one Predict, CPU a row", rows, "us", 12),
        Figure("feature writes, streamed, standalone store", rates, "rows/s", 40_000, at_most=False),
        Figure("memory of the four services (PSS)", [memory], "MiB", 400),
        Figure("start to first answer", starts, "s", 5),
    ]


if __name__ == "__main__":
    main()
