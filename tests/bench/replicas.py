"""What sparing a slow replica and hedging do to the tail of a hop's calls: `python -m tests.bench.replicas`.

The hop is the real one; the replicas and the clock are not, so that the figures are the same on every machine.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from unittest.mock import patch

from services.mesh import replicas
from services.mesh.deadline import Deadline
from services.mesh.replicas import Connection
from services.mesh.resilience import Effort, Hop
from tests.support.virtual_time import run_virtually

CALLS, CALLERS, USUAL_S, DEADLINE_S = 10_000, 4, 0.003, 2.0


@dataclass
class Replica:
    """Takes 3 ms in the median, and `late` more for a part of the calls."""

    late_s: float = 0.0
    late_part: float = 0.0
    calls: int = 0

    async def ask(self) -> None:
        """Answer."""
        self.calls += 1
        late_s = self.late_s if random.random() < self.late_part else 0.0
        await asyncio.sleep(USUAL_S * random.lognormvariate(0, 0.3) + late_s)


async def _called(hop: Hop[Replica], calls: int) -> list[tuple[float, Effort]]:
    """Make calls, and return how long each took, in seconds."""
    took: list[tuple[float, Effort]] = []

    async def caller() -> None:
        for _ in range(calls // CALLERS):
            start = time.monotonic()
            _, effort = await hop.call(lambda replica, _: replica.ask(), Deadline.after(DEADLINE_S))
            took.append((time.monotonic() - start, effort))
            await asyncio.sleep(random.expovariate(1 / USUAL_S))

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return took


async def _line(fault: Callable[[list[Replica]], None], *, hedged: bool) -> str:
    """Let two replicas be well for a while, then with their fault; return what the latter came to."""
    two = [Replica(), Replica()]
    hop = Hop("bench", [Connection(f"10.0.0.{number}:1", replica) for number, replica in enumerate(two)], hedged=hedged)
    await _called(hop, CALLS // 2)
    fault(two)
    for replica in two:
        replica.calls = 0
    took = await _called(hop, CALLS)
    ranked = sorted(seconds for seconds, _ in took)
    at = [ranked[math.floor(part * len(ranked))] * 1e3 for part in (0.5, 0.95, 0.99, 0.999)]
    extra = sum(effort.hedged for _, effort in took) / len(took)
    mean = sum(ranked) / len(ranked) * 1e3
    first = two[0].calls / sum(replica.calls for replica in two)
    return " | ".join(f"{value:.1f}" for value in (mean, *at)) + f" | {first:.1%} | {extra:.1%}"


def _slow(two: list[Replica]) -> None:
    two[0].late_s, two[0].late_part = 0.05, 1.0


def _late(two: list[Replica]) -> None:
    for replica in two:
        replica.late_s, replica.late_part = 0.05, 0.02


def _well(_: list[Replica]) -> None:
    pass


def main() -> None:
    """Print the table."""
    print(f"{CALLERS} callers, 2 replicas, calls of {USUAL_S * 1e3:g} ms; times in ms\n")
    print("| replicas | chosen by | hedged | mean | p50 | p95 | p99 | p99.9 | calls of the first | more calls |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    by_count: AbstractContextManager[object] = patch.object(replicas, "SLOWER", math.inf)
    faults = {"well": _well, "2 % of calls 50 ms late": _late, "the first 50 ms late always": _slow}
    for name, fault in faults.items():
        for choice, chosen in (("calls under way", by_count), ("and pace", nullcontext())):
            for hedged in (False, True):
                random.seed(1)
                with chosen:
                    line = run_virtually(_line(fault, hedged=hedged))
                print(f"| {name} | {choice} | {'yes' if hedged else 'no'} | {line} |")


if __name__ == "__main__":
    main()
