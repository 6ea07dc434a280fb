"""`make bench`: every rival under the same load in one run, interleaved, every answer checked."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import closed, disruption, offered, own, report, scaling, tables, witness
from tests.bench.disruption import Disrupted
from tests.bench.offered import Offer
from tests.bench.pace import Pace
from tests.bench.plot import draw
from tests.bench.report import Figure, Run, of
from tests.bench.scaling import Scaled
from tests.bench.witness import Seen
from tests.bench.world import World, open_world

PARTS = ("closed", "open", "k6", "scaling", "disruption", "own")
_FULL_CALLERS = max(closed.CALLERS)


@dataclass(frozen=True)
class Plan:
    """How long and how often: seconds of a closed run and of an open one, runs of each, loads and shares."""

    seconds: float = 0.8
    open_seconds: float = 3
    repeats: int = 9
    open_repeats: int = 5
    few_repeats: int = 2
    callers: Sequence[int] = closed.CALLERS
    shares: Sequence[float] = offered.SHARES


_QUICK = Plan(0.4, 1, 1, 1, 1, (1, 32, 64), (0.3, offered.STEADY))


@dataclass
class Measured:
    """Everything that was."""

    runs: list[Run] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    scaled: list[Scaled] = field(default_factory=list)
    disrupted: list[Disrupted] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once and briefly, to see that it works")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure just this; several times for several")
    parser.add_argument(
        "--out", type=Path, default=Path("tests/bench/results/latest.json"), help="tables and a picture lie beside it"
    )
    arguments = parser.parse_args()
    plan = _QUICK if arguments.quick else Plan()
    with tempfile.TemporaryDirectory() as directory:
        found = _measure(Path(directory), plan, arguments.only or PARTS)
    found_tables = [
        *report.tables_of(found.runs, found.figures),
        *tables.tables_of(found.offers, found.seen, found.scaled),
    ]
    for table in found_tables:
        report.console().print(table)
    others: dict[str, Sequence[Any]] = {
        "open": found.offers,
        "k6": found.seen,
        "scaling": found.scaled,
        "disruption": found.disrupted,
    }
    report.write(arguments.out, found.runs, found.figures, **others)
    report.write_tables(arguments.out.with_suffix(".md"), found_tables)
    panels = tables.panels(found.runs, found.offers)
    if panels:
        arguments.out.with_suffix(".svg").write_text(draw(panels))


def _measure(directory: Path, plan: Plan, parts: Collection[str]) -> Measured:
    found = Measured()
    with open_world(directory, alone=not {"closed", "k6"} & set(parts)) as world:
        if "own" in parts:
            found.figures.append(own.memory(world))
        _under_load(world, plan, parts, found)
        if "own" in parts:
            found.figures.append(own.written(world, plan.repeats))
    if "own" in parts:
        request = world.work.requests(1)[0][0]
        found.figures.append(own.started(world.data, request, plan.few_repeats))
    return found


def _under_load(world: World, plan: Plan, parts: Collection[str], found: Measured) -> None:
    pace = Pace(plan.seconds)
    if "closed" in parts:
        found.runs = closed.measure(world, pace, plan.repeats, plan.callers)
        found.figures += closed.figures(found.runs)
    if "open" in parts:
        rivals = (world.mesh, world.monolith)
        runs = found.runs or [closed.run(pace, rival, world.work, _FULL_CALLERS) for rival in rivals]
        capacity = {
            rival.name: median(run.per_second for run in of(runs, rival.name, _FULL_CALLERS)) for rival in rivals
        }
        found.offers = offered.measure(rivals, capacity, plan.open_seconds, plan.open_repeats, plan.shares)
        found.offers += offered.measure(rivals[:1], capacity, plan.open_seconds, plan.open_repeats, offered.ABOVE)
        found.figures += offered.figures(found.offers)
    if "k6" in parts:
        found.seen = witness.measure(world, max(1, round(plan.open_seconds)), plan.few_repeats)
    if "scaling" in parts:
        found.scaled = scaling.measure(world, pace, plan.few_repeats)
        found.figures += scaling.figures(found.scaled)
    if "disruption" in parts:
        found.disrupted = disruption.measure(world, pace)
        found.figures += disruption.figures(found.disrupted)


if __name__ == "__main__":
    main()
