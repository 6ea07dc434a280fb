"""What is asked for side by side, and the figures that come of it: CPU of all services, interleaved."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from tests.bench.composition.callers import Callers
from tests.bench.composition.definitions import LADDERED, PLAIN, REMEMBERED, Definitions
from tests.bench.composition.models import SURE
from tests.bench.composition.world import World
from tests.bench.report import Figure, Run, of
from tests.bench.rivals import Rival

CALLERS = 32
FIRST_STAGE, SECOND_STAGE, CASCADE = PLAIN, "trees", "cascade"
ONE_COMPOSED, BEFORE = "one-composed", "one, before"
NODES = {
    "mean-of-2": ("one", "two"),
    "mean-of-4": ("one", "two", "three", "four"),
    "pipeline": ("before", "scorer", "after"),
}
"""Model nodes of each composition that is also made by hand."""
_BY_HAND = "-by-hand"
OVERHEAD_US, CASCADE_SHARE, UNUSED = 60.0, (1.3, 1 - SURE), 1.05


async def measure(world: World, definitions: Definitions, seconds: float) -> list[Run]:
    """Ask for everything once, what is compared one after the other."""
    names = (SECOND_STAGE, CASCADE, PLAIN, ONE_COMPOSED, LADDERED, REMEMBERED)
    found = [await _run(world.mesh, name, definitions, seconds) for name in names]
    if world.before is not None:
        found.append(await _run(world.before, PLAIN, definitions, seconds, BEFORE))
    for name, nodes in NODES.items():
        for node in nodes:
            if node not in {run.rival for run in found}:
                found.append(await _run(world.mesh, node, definitions, seconds))
        found.append(await _run(world.mesh, name, definitions, seconds))
        found.append(await _run(world.by_hand, name + _BY_HAND, definitions, seconds))
    return found


async def _run(rival: Rival, endpoint: str, definitions: Definitions, seconds: float, name: str = "") -> Run:
    pids = [pid for found in rival.pids.values() for pid in found]
    found = await Callers(definitions.requests(endpoint)).run(rival.target, CALLERS, seconds, pids)
    cpu = {service: sum(found.cpu_us[pid] for pid in of_service) for service, of_service in rival.pids.items()}
    made = Run(name or endpoint, CALLERS, 1, found.per_second, found.p50_ms, found.p99_ms, cpu)
    print(f"{made.rival:>20}: {made.total_cpu_us:6.0f} us {made.per_second:7,.0f}/s", file=sys.stderr)
    return made


def figures(runs: Sequence[Run]) -> Iterator[Figure]:
    """Compare what was measured in each round; nothing, if nothing was."""
    if not runs:
        return

    def cpu(name: str) -> list[float]:
        return [run.total_cpu_us for run in of(runs, name, CALLERS)]

    single = [composed - plain for composed, plain in zip(cpu(ONE_COMPOSED), cpu(PLAIN), strict=True)]
    yield Figure("a composition of one node, CPU a row beyond the node's own endpoint", single, "us", OVERHEAD_US)
    for name, nodes in NODES.items():
        count = len(nodes)
        by_client = map(sum, zip(*map(cpu, nodes), strict=True))
        for words, others in (("by hand", cpu(name + _BY_HAND)), ("by its client", by_client)):
            yield Figure(
                f"{name}, CPU a node and row beyond its nodes called {words}",
                [(composed - other) / count for composed, other in zip(cpu(name), others, strict=True)],
                "us",
                OVERHEAD_US,
            )
    of_first, of_second = CASCADE_SHARE
    bounds = [of_first * a + of_second * b for a, b in zip(cpu(FIRST_STAGE), cpu(SECOND_STAGE), strict=True)]
    words = f"cascade, {SURE:.0%} sure at stage one, CPU beside {of_first:g} x stage one + {of_second:.1f} x stage two"
    yield Figure(words, _ratios(cpu(CASCADE), bounds), "x", 1)
    yield Figure("a ladder that is not used, CPU", _ratios(cpu(LADDERED), cpu(PLAIN)), "x", UNUSED)
    yield Figure("the same with last answers to keep", _ratios(cpu(REMEMBERED), cpu(PLAIN)), "x", UNUSED)
    if cpu(BEFORE):
        yield Figure("a plain endpoint, CPU beside the code before", _ratios(cpu(PLAIN), cpu(BEFORE)), "x", UNUSED)


def _ratios(ours: Iterable[float], others: Iterable[float]) -> list[float]:
    return [our / other for our, other in zip(ours, others, strict=True)]
