"""What callers of each priority get when more come than can be answered: `python -m tests.bench.overload`."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from services.mesh.admission.priority import PRIORITY
from tests.bench import rivals, workload
from tests.bench.arrivals import Offered
from tests.bench.openloop import offer
from tests.bench.pressure import press
from tests.bench.report import console
from tests.bench.rivals import Rival

# How much comes at each priority, of all that comes.
MIX = {"high": 0.1, "normal": 0.6, "low": 0.3}
STEPS = (0.7, 1.2, 1.5, 3.0)
CALLERS, CALLS = 64, 6000


@dataclass(frozen=True)
class Share:
    """What came of the calls of one priority at so many times the capacity; rates are a second."""

    times: float
    priority: str
    offered: float
    answered: float
    refused: float
    """With a reason and a time to come back."""
    cut: float
    """By gRPC itself, unseen by the gateway, or too late."""
    p99_ms: float


def measure(
    rival: Rival, capacity: float, seconds: float, *, steps: Sequence[float] = STEPS, mix: Mapping[str, float] = MIX
) -> list[Share]:
    """Offer so many times `capacity` for so long each, every priority by a generator of its own."""
    found = []
    for times in steps:
        with ThreadPoolExecutor(len(mix)) as threads:
            offers = {
                priority: threads.submit(
                    offer, rival.target, times * capacity * share, seconds, headers=[f"{PRIORITY}: {priority}"]
                )
                for priority, share in mix.items()
            }
            found += [_share(times, priority, offered.result()) for priority, offered in offers.items()]
    return found


def _share(times: float, priority: str, found: Offered) -> Share:
    refused = found.outcomes.get("RESOURCE_EXHAUSTED", 0) / found.seconds
    cut = found.failed / found.seconds - refused
    return Share(times, priority, found.rate, found.per_second, refused, cut, found.percentile_ms(99))


def show(shares: Sequence[Share]) -> None:
    """Print them as a table."""
    table = Table("x capacity", "priority", "offered/s", "answered/s", "refused/s", "cut/s", "p99 ms")
    for one in shares:
        rates = (one.offered, one.answered, one.refused, one.cut)
        table.add_row(f"{one.times:g}", one.priority, *(f"{rate:,.0f}" for rate in rates), f"{one.p99_ms:.1f}")
    console().print(table)


def main() -> None:
    """Start a mesh, find its capacity, offer more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="counted time at each rate")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        made, data = Path(directory) / "workload", Path(directory) / "mesh"
        made.mkdir()
        requests = workload.make(made).requests(1)
        with rivals.running_up("mesh", data) as mesh:
            rivals.define(data, made)
            rivals.await_answer(mesh.target, requests[0][0])
            press(mesh, requests, CALLERS, CALLS)
            capacity = press(mesh, requests, CALLERS, CALLS).per_second
            show(measure(mesh, capacity, arguments.seconds))


if __name__ == "__main__":
    main()
