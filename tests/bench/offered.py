"""The mesh and the monolith in an open loop: calls come by chance at shares of what each can answer at most, and above.

Above it the generator takes more of the machine, too, for calls that are refused; so what is answered then stands beside
what the same generator gets answered at capacity.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.bench.arrivals import WRONG
from tests.bench.openloop import offer
from tests.bench.report import Figure
from tests.bench.rivals import Rival

SHARES = (0.1, 0.3, 0.5, 0.7, 0.85)
"""Of the throughput of 64 callers in a closed loop, which is the capacity."""
STEADY = 0.7
FULL, OVERLOAD = 1.0, 3.0
ABOVE = (FULL, 1.5, OVERLOAD)


@dataclass(frozen=True)
class Offer:
    """A share of a rival's capacity: good answers a second and how long they took, and calls without one.

    `late_ms` is how late (p99) the generator made its calls, `cpu_us` of all services.
    """

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
    if WRONG in found.outcomes:
        raise SystemExit(f"{rival.name} at {rate:,.0f}/s: {found.outcomes}")
    p50, p99 = found.percentile_ms(50), found.percentile_ms(99)
    print(f"{rival.name:>22} {rate:8,.0f}/s offered: p50 {p50:.2f} ms, p99 {p99:.2f} ms", file=sys.stderr)
    cpu = sum(found.cpu_us.values())
    return Offer(rival.name, share, rate, found.per_second, found.failed, p50, p99, found.late_ms, cpu)


def at_share(offers: Sequence[Offer], share: float) -> list[Offer]:
    """Return those of the mesh at a share of its capacity."""
    return [offer for offer in offers if (offer.rival, offer.share) == ("mesh", share)]


def figures(offers: Sequence[Offer]) -> list[Figure]:
    """Return how the mesh fares at 70 % of its capacity, and at three times as much as it can answer."""
    steady, full, overload = (at_share(offers, share) for share in (STEADY, FULL, OVERLOAD))
    goodput = [over.per_second / most.per_second for over, most in zip(overload, full, strict=True)]
    tails = [over.p99_ms / calm.p99_ms for over, calm in zip(overload, steady, strict=True)]
    return [
        Figure("p99 beside p50, open loop at 70 % of capacity", [one.p99_ms / one.p50_ms for one in steady], "x", 5),
        Figure("calls failed, open loop at 70 % of capacity", [one.failed for one in steady], "", 0),
        Figure("answered at 3 x capacity beside answered at capacity", goodput, "x", 0.9, at_most=False),
        Figure("p99 of what is answered at 3 x capacity beside p99 at 70 %", tails, "x", 2),
    ]
