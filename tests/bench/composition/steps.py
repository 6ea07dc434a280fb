"""How soon after a failure the next step of a ladder is taken, and what callers see of it."""

from __future__ import annotations

import math
import re
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from rich.table import Table

from tests.bench.composition.callers import Callers
from tests.bench.composition.failing import FAILED, LAST, NOT_LOADED, OPEN, STATIC, STEPS, Failing
from tests.bench.composition.noting_gateway import METRIC
from tests.bench.report import Figure, console

CALLERS = (1, 32)
BUDGET_MS = 5.0
_BUCKET = re.compile(METRIC + r"_bucket{(.*)} ([\d.e+]+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Taken:
    """One kind of failure and the step after it, under one load, once: milliseconds.

    `taken` is from the failure to the step, as upper bounds within a tenth; `from_first` counts from the failure of the first
    attempt, where the call was made again. The others are the callers'.
    """

    failure: str
    step: str
    callers: int
    per_second: float
    p50_ms: float
    p99_ms: float
    taken_p50_ms: float
    taken_p99_ms: float
    from_first_p99_ms: float


async def measure(failing: Failing, seconds: float) -> list[Taken]:
    """Have every step follow every failure; but for the breaker, which stays open once it is."""
    found = []
    for callers in CALLERS:
        for failure in (NOT_LOADED, FAILED):
            found += [await _taken(failing, failure, step, callers, seconds) for step in STEPS]
    return found


async def measure_open(failing: Failing, seconds: float) -> list[Taken]:
    """End the model service, and have the steps that can do without it follow."""
    failing.model.kill()
    return [await _taken(failing, OPEN, step, callers, seconds) for callers in CALLERS for step in (LAST, STATIC)]


async def _taken(failing: Failing, failure: str, step: str, callers: int, seconds: float) -> Taken:
    before = _buckets(failing, step)
    asking = Callers(failing.requests(failure, step), failing.check(failure))
    found = await asking.run(failing.gateway.target, callers, seconds, [])
    after = _buckets(failing, step)
    counts = {since: Counter(after[since]) for since in after}
    for since, known in before.items():
        counts[since].subtract(known)
    p50, p99 = (_quantile(counts["last"], q) for q in (0.5, 0.99))
    made = Taken(
        failure, step, callers, found.per_second, found.p50_ms, found.p99_ms, p50, p99, _quantile(counts["first"], 0.99)
    )
    print(made, file=sys.stderr)
    return made


def _buckets(failing: Failing, step: str) -> dict[str, dict[float, float]]:
    """How many were at most so many seconds, by what they count from."""
    with urllib.request.urlopen(f"http://{failing.gateway.http}/metrics") as answer:
        text = answer.read().decode()
    found: dict[str, dict[float, float]] = {}
    for labels, count in _BUCKET.findall(text):
        named = dict(_LABEL.findall(labels))
        if named["step"] == step:
            found.setdefault(named["since"], {})[float(named["le"])] = float(count)
    return found


def _quantile(counts: Counter[float], q: float) -> float:
    """The edge of the bucket that has the quantile, in milliseconds."""
    total = counts[math.inf]
    if not total:
        raise SystemExit("no step of a ladder was noted")
    return next(edge for edge in sorted(counts) if counts[edge] >= q * total) * 1e3


def figures(found: Sequence[Taken]) -> Iterator[Figure]:
    """What has a budget: from the failure, after which nothing is tried again, to the step."""
    for failure, step, callers in dict.fromkeys((each.failure, each.step, each.callers) for each in found):
        own = _of(found, failure, step, callers)
        words = f"{failure}, then {step}: from one to the other, p99, {callers} caller{'s' if callers > 1 else ''}"
        yield Figure(words, [each.taken_p99_ms for each in own], "ms", BUDGET_MS)


def show(found: Sequence[Taken]) -> None:
    """Print the medians."""
    table = Table(
        "callers", "failure", "step", "answers/s", "p50 ms", "p99 ms", "step p50", "step p99", "from first, p99",
        title="fallback ladders: the callers' time, and from the failure to the step; ms",
    )  # fmt: skip
    for failure, step, callers in dict.fromkeys((each.failure, each.step, each.callers) for each in found):
        own = _of(found, failure, step, callers)
        table.add_row(
            str(callers),
            failure,
            step,
            f"{median(each.per_second for each in own):,.0f}",
            *(
                f"{median(getattr(each, name) for each in own):.2f}"
                for name in ("p50_ms", "p99_ms", "taken_p50_ms", "taken_p99_ms", "from_first_p99_ms")
            ),
        )
    console().print(table)


def _of(found: Sequence[Taken], failure: str, step: str, callers: int) -> list[Taken]:
    return [each for each in found if (each.failure, each.step, each.callers) == (failure, step, callers)]
