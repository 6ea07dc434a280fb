"""What the mesh's cost grows with: rows of a call, views of a version, endpoints asked at once, replicas of services."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.bench import rivals, workload
from tests.bench.fleet import REPLICAS, Fleet, replicated
from tests.bench.pace import Pace
from tests.bench.report import Figure
from tests.bench.rivals import Rival
from tests.bench.workload import Floats, Workload
from tests.bench.world import World

ROWS = (1, 4, 16, 64, 256)
VIEWS = (1, 8)
VIEW_WIDTH = 4
ENDPOINTS = (1, 4)
_CALLERS = 32
_FEW = 8


@dataclass(frozen=True)
class Scaled:
    """The mesh with so many of `what`; CPU of all services in microseconds a row."""

    what: str
    count: int
    callers: int
    rows_per_second: float
    p50_ms: float
    p99_ms: float
    row_cpu_us: float


def measure(world: World, pace: Pace, repeats: int) -> list[Scaled]:
    """Measure each by itself, with everything else as in the other runs."""
    views = {3: world.work} | {count: _with_views(world, count) for count in VIEWS}
    endpoints = [_named(world, number) for number in range(max(ENDPOINTS))]
    with replicated(world) as fleet:
        return [found for _ in range(repeats) for found in _once(world, pace, views, endpoints, fleet)]


def _once(
    world: World, pace: Pace, views: dict[int, Workload], endpoints: Sequence[Workload], fleet: Fleet
) -> Iterator[Scaled]:
    for rows in ROWS:
        for callers in (1, _FEW):
            yield _pressed(pace, world.mesh, "rows", rows, world.work.requests(rows), callers)
    for count, work in views.items():
        yield _pressed(pace, world.mesh, "views", count, work.requests(1))
    for count in ENDPOINTS:
        turns = zip(*(work.requests(1) for work in endpoints[:count]), strict=True)
        yield _pressed(pace, world.mesh, "endpoints", count, [request for turn in turns for request in turn])
    for count, rival in ((1, world.mesh), (REPLICAS, fleet.rival)):
        yield _pressed(pace, rival, "replicas", count, world.work.requests(1))


def _pressed(
    pace: Pace, rival: Rival, what: str, count: int, requests: Sequence[tuple[bytes, Floats]], callers: int = _CALLERS
) -> Scaled:
    found, rows = pace.press(rival, requests, callers, f"{count} {what}"), len(requests[0][1])
    cpu = sum(found.cpu_us.values()) / rows
    return Scaled(what, count, callers, found.per_second * rows, found.p50_ms, found.p99_ms, cpu)


def _with_views(world: World, count: int) -> Workload:
    """Define an endpoint whose version reads so many views, each of an entity of its own."""
    widths = {f"of-{count}-{number}": VIEW_WIDTH for number in range(count)}
    return _defined(world, f"bench-{count}-views", widths, values=True)


def _named(world: World, number: int) -> Workload:
    """Define the workload once more, as another model at another endpoint."""
    return _defined(world, f"bench-mlp-{number}", workload.WIDTHS, values=False)


def _defined(world: World, endpoint: str, widths: dict[str, int], *, values: bool) -> Workload:
    made = world.data.parent / endpoint
    made.mkdir()
    work = workload.make(made, endpoint, widths)
    rivals.define(world.data, made, values=values)
    rivals.await_answer(world.mesh.target, work.requests(1)[0][0])
    return work


def figures(runs: Sequence[Scaled]) -> list[Figure]:
    """Return what a row of a large call costs."""
    rows = [run.row_cpu_us for run in runs if (run.what, run.count, run.callers) == ("rows", 256, 1)]
    return [Figure("256 rows in one Predict, CPU a row", rows, "us", 12)]
