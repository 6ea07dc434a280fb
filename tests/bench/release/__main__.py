"""`make bench-release`: what guards take back in simulated releases, and what many definitions cost."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tests.bench.release import scale, simulation
from tests.bench.report import Figure, show_budgets, write


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="make bench-release", description=__doc__)
    parser.add_argument("--only", choices=["simulation", "scale"], help="measure just this")
    parser.add_argument("--rollouts", type=int, default=10_000, help="simulated releases of each good candidate")
    parser.add_argument("--of-bad", type=int, default=1_000, help="simulated releases of each bad candidate")
    parser.add_argument("--changes", type=int, default=200, help="changes that gateways follow")
    parser.add_argument("--repeats", type=int, default=5, help="times that routing is timed")
    parser.add_argument("--out", type=Path, default=Path("tests/bench/results/latest_release.json"))
    arguments = parser.parse_args()
    runs: list[Any] = []
    found: list[Figure] = []
    if arguments.only != "scale":
        simulated = simulation.measure(arguments.rollouts, arguments.of_bad)
        simulation.show(simulated)
        runs += simulated
        found += simulation.figures(simulated)
    if arguments.only != "simulation":
        scaled = scale.measure(arguments.changes, arguments.repeats)
        scale.show(scaled)
        runs.append(scaled)
        found += scale.figures(scaled)
    show_budgets(found)
    write(arguments.out, runs, found)


if __name__ == "__main__":
    main()
