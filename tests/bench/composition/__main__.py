"""`make bench-composition`: compositions beside the same calls without them, in one run, interleaved, answers checked."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from tests.bench.composition import alternatives, memory, steps
from tests.bench.composition.definitions import make
from tests.bench.composition.failing import failing
from tests.bench.composition.memory import Remembered
from tests.bench.composition.steps import Taken
from tests.bench.composition.world import world
from tests.bench.report import Run, show, write


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="make bench-composition", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="counted time of each run")
    parser.add_argument("--repeats", type=int, default=9, help="runs of each alternative")
    parser.add_argument("--only", choices=["alternatives", "steps"], help="measure just this")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    parser.add_argument("--before", default="", metavar="REVISION", help="also measure a plain endpoint of other code")
    parser.add_argument("--out", type=Path, default=Path("tests/bench/results/latest_composition.json"))
    arguments = parser.parse_args()
    seconds, repeats = (0.5, 1) if arguments.quick else (arguments.seconds, arguments.repeats)
    with tempfile.TemporaryDirectory() as directory:
        found = uvloop.run(_measure(Path(directory), seconds, repeats, arguments))
    figures = [*alternatives.figures(found.runs), *steps.figures(found.taken), *memory.figures(found.remembered)]
    if found.taken:
        steps.show(found.taken)
    show(found.runs, figures)
    write(arguments.out, [*found.runs, *found.taken, *found.remembered], figures)


@dataclass
class Measured:
    """Everything that was."""

    runs: list[Run] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    remembered: list[Remembered] = field(default_factory=list)


async def _measure(directory: Path, seconds: float, repeats: int, arguments: argparse.Namespace) -> Measured:
    definitions, found = make(), Measured()
    async with world(directory, definitions, arguments.before) as opened:
        if arguments.only != "steps":
            for _ in range(repeats):
                found.runs += await alternatives.measure(opened, definitions, seconds)
            found.remembered.append(await memory.measure(opened, definitions.rows))
        if arguments.only != "alternatives":
            async with failing(opened, definitions.rows) as gateway:
                for _ in range(repeats):
                    found.taken += await steps.measure(gateway, seconds)
                for _ in range(repeats):
                    found.taken += await steps.measure_open(gateway, seconds)
    return found


if __name__ == "__main__":
    main()
