"""How often guards take back a version that is as good, and how soon one that is worse."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from statistics import quantiles

from rich.table import Table
from scipy.stats import beta

from tests.bench.release.rollouts import roll_out
from tests.bench.release.worlds import BAD, GOOD, World
from tests.bench.report import Figure, console

# Of the bounds of a simulated share.
CONFIDENCE = 0.99


@dataclass(frozen=True)
class Simulated:
    """What became of many releases of one candidate; counts of requests are those that candidates answered."""

    world: str
    good: bool
    false_alarm_rate: float
    rollouts: int
    looks: int
    taken_back: int
    by_guard: dict[str, int]
    requests_until_taken_back: list[int]
    requests_until_promoted: list[int]

    @property
    def share(self) -> float:
        """Share that was taken back."""
        return self.taken_back / self.rollouts

    @property
    def bounds(self) -> tuple[float, float]:
        """Exact bounds of its probability (Clopper, Pearson), each ever beyond with (1 - CONFIDENCE) / 2."""
        tail, others = (1 - CONFIDENCE) / 2, self.rollouts - self.taken_back
        low = float(beta.ppf(tail, self.taken_back, others + 1)) if self.taken_back else 0.0
        high = float(beta.ppf(1 - tail, self.taken_back + 1, others)) if others else 1.0
        return low, high


def measure(rollouts: int, of_bad: int) -> list[Simulated]:
    """Simulate the releases of every candidate, on all cores."""
    with ProcessPoolExecutor() as pool:
        return [_told(_simulated(pool, world, rollouts if world.good else of_bad)) for world in GOOD + BAD]


def figures(simulated: Sequence[Simulated]) -> list[Figure]:
    """What has a budget; the spread of a share is that of its confidence bounds."""
    return [
        Figure(
            f"taken back: {each.world}",
            [100 * share for share in (each.bounds[0], each.share, each.bounds[1])],
            "%",
            100 * each.false_alarm_rate if each.good else 90.0,
            at_most=each.good,
        )
        for each in simulated
    ]


def show(simulated: Sequence[Simulated]) -> None:
    """Print what became of whom."""
    table = Table(
        "candidate", "rollouts", "looks", "taken back", f"{CONFIDENCE:.0%} bounds", "by guard",
        "requests until, p10 / p50 / p90", "of the promoted",
        title="simulated releases; requests are those that the candidate answered",
    )  # fmt: skip
    for each in simulated:
        low, high = each.bounds
        table.add_row(
            each.world,
            f"{each.rollouts:,}",
            f"{each.looks:,}",
            f"{each.share:.2%}",
            f"{low:.2%} to {high:.2%}",
            ", ".join(f"{guard} {count}" for guard, count in each.by_guard.items()),
            _spread(each.requests_until_taken_back),
            _spread(each.requests_until_promoted),
        )
    console().print(table)


def _simulated(pool: ProcessPoolExecutor, world: World, rollouts: int) -> Simulated:
    found = list(pool.map(roll_out, repeat(world), range(rollouts), chunksize=max(1, rollouts // 100)))
    gone = [rollout for rollout in found if rollout.taken_back]
    return Simulated(
        world=world.name,
        good=world.good,
        false_alarm_rate=world.plan.false_alarm_rate,
        rollouts=rollouts,
        looks=sum(rollout.looks for rollout in found),
        taken_back=len(gone),
        by_guard=dict(Counter(rollout.guard for rollout in gone).most_common()),
        requests_until_taken_back=_percentiles([rollout.requests for rollout in gone]),
        requests_until_promoted=_percentiles([rollout.requests for rollout in found if not rollout.taken_back]),
    )


def _told(simulated: Simulated) -> Simulated:
    print(f"{simulated.world}: {simulated.taken_back} of {simulated.rollouts} taken back", file=sys.stderr)
    return simulated


def _percentiles(values: Sequence[int]) -> list[int]:
    """The 10th, 50th and 90th; of fewer than two values themselves."""
    return [round(quantiles(values, n=10)[index]) for index in (0, 4, 8)] if len(values) > 1 else list(values)


def _spread(requests: Sequence[int]) -> str:
    return " / ".join(f"{each:,}" for each in requests)
