"""Every rival in a closed loop, interleaved: one row a call, so many callers who ask again when answered."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from tests.bench.pace import Pace
from tests.bench.report import Figure, Run, of
from tests.bench.rivals import Rival
from tests.bench.stacks.running import fastapi_name
from tests.bench.workload import Workload
from tests.bench.world import World

CALLERS = (1, 8, 32, 64)
_MANY = (32, 64)
FASTAPI = fastapi_name(os.cpu_count() or 1)
"""The same work in as many processes as there are cores."""


def measure(world: World, pace: Pace, repeats: int, callers: Sequence[int] = CALLERS) -> list[Run]:
    """Run each rival under each load, as often as said, and another one first each time."""
    return [
        run(pace, rival, world.work, number)
        for repeat in range(repeats)
        for number in callers
        for rival in _beginning_with(repeat, world.rivals)
    ]  # fmt: skip


def _beginning_with(turn: int, rivals: Sequence[Rival]) -> Sequence[Rival]:
    """Return all in their order, but from another one on: machines slow down under lasting load, and recover."""
    first = turn % len(rivals)
    return (*rivals[first:], *rivals[:first])


def run(pace: Pace, rival: Rival, work: Workload, callers: int) -> Run:
    """Press once."""
    found = pace.press(rival, work.requests(1), callers)
    cpu = {service: sum(found.cpu_us[pid] for pid in pids) for service, pids in rival.pids.items()}
    return Run(rival.name, callers, 1, found.per_second, found.p50_ms, found.p99_ms, cpu)


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return what the runs say beside the budgets; ratios are of runs that stood side by side."""

    def beside(rival: str, callers: int, compare: Callable[[Run, Run], float]) -> list[float]:
        pairs = zip(of(runs, "mesh", callers), of(runs, rival, callers), strict=True)
        return [compare(mesh, other) for mesh, other in pairs]

    found = []
    for callers, budget in zip(_MANY, (2.0, 1.6), strict=True):
        values = beside("ceiling", callers, _cpu)
        found.append(Figure(f"CPU a prediction beside an empty call, {callers} callers", values, "x", budget))
    for rival, budget in ((FASTAPI, 1.2), ("monolith", 0.8)):
        for callers in _MANY:
            values = beside(rival, callers, _throughput)
            name = f"throughput of the mesh beside {rival}, {callers} callers"
            found.append(Figure(name, values, "x", budget, at_most=False))
    values = beside("mesh, a call a request", 32, _throughput)
    found.append(Figure("throughput beside a call for each request, 32 callers", values, "x", 3, at_most=False))
    values = beside("monolith", 1, lambda mesh, monolith: mesh.p50_ms - monolith.p50_ms)
    found.append(Figure("p50 at one caller, mesh minus monolith", values, "ms", 1.0))
    for callers in _MANY:
        values = beside("mesh, telemetry off", callers, _cpu)
        found.append(Figure(f"CPU with tracing 10 % and metrics beside none, {callers} callers", values, "x", 1.05))
        values = beside("mesh, tracing off", callers, _cpu)
        found.append(Figure(f"CPU with tracing 10 % beside metrics alone, {callers} callers", values, "x", 1.05))
    return found


def _cpu(run: Run, other: Run) -> float:
    return run.total_cpu_us / other.total_cpu_us


def _throughput(run: Run, other: Run) -> float:
    return run.per_second / other.per_second
