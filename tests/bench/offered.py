"""The mesh and the monolith in an open loop: calls come by chance at shares of what each can answer at most."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.bench.openloop import offer
from tests.bench.report import Figure
from tests.bench.rivals import Rival

SHARES = (0.1, 0.3, 0.5, 0.7, 0.85)
"""Of the throughput of 64 callers in a closed loop, which is the capacity."""
STEADY = 0.7


@dataclass(frozen=True)
class Offer:
    """A share of a rival's capacity; `late_ms` is how late (p99) the generator made its calls, `cpu_us` of all services."""

    rival: str
    share: float
    rate: float
    per_second: float
    failed: int
    p50_ms: float
    p99_ms: float
    late_ms: float
    cpu_us: float


def measure(
    rivals: Sequence[Rival], capacity: Mapping[str, float], seconds: float, repeats: int, shares: Sequence[float] = SHARES
) -> list[Offer]:  # fmt: skip
    """Offer each share to each rival, as often as said; `capacity` is in answers a second, by rival."""
    return [
        _offered(rival, share, capacity[rival.name], seconds)
        for _ in range(repeats)
        for share in shares
        for rival in rivals
    ]


def _offered(rival: Rival, share: float, capacity: float, seconds: float) -> Offer:
    rate = share * capacity
    found = offer(rival.target, rate, seconds, pids=rival.all_pids)
    p50, p99 = found.percentile_ms(50), found.percentile_ms(99)
    print(f"{rival.name:>22} {rate:8,.0f}/s offered: p50 {p50:.2f} ms, p99 {p99:.2f} ms", file=sys.stderr)
    cpu = sum(found.cpu_us.values())
    return Offer(rival.name, share, rate, found.per_second, found.failed, p50, p99, found.late_ms, cpu)


def steady(offers: Sequence[Offer], rival: str = "mesh") -> list[Offer]:
    """Return those at 70 % of capacity."""
    return [offer for offer in offers if (offer.rival, offer.share) == (rival, STEADY)]


def figures(offers: Sequence[Offer]) -> list[Figure]:
    """Return the tail beside the middle at 70 % of capacity, and how many calls failed there."""
    found = steady(offers)
    return [
        Figure("p99 beside p50, open loop at 70 % of capacity", [one.p99_ms / one.p50_ms for one in found], "x", 5),
        Figure("calls failed, open loop at 70 % of capacity", [one.failed for one in found], "", 0),
    ]
