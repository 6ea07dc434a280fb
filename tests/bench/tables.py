"""The tables beside that of the closed loop, and the picture's panels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import TypeVar

from rich.table import Table

from tests.bench.offered import FULL, Offer
from tests.bench.plot import DASHED, Panel
from tests.bench.report import Run, of
from tests.bench.scaling import Scaled
from tests.bench.witness import Seen

T = TypeVar("T")
_TAIL_SHOWN = 10.0


def tables_of(offers: Sequence[Offer], seen: Sequence[Seen], scaled: Sequence[Scaled]) -> list[Table]:
    """Return tables of what there is; medians of the runs."""
    return [
        *([_offered(offers)] if offers else []),
        *([_seen(seen)] if seen else []),
        *([_scaled(scaled)] if scaled else []),
    ]


def _offered(offers: Sequence[Offer]) -> Table:
    title = "open loop, one row, by share of capacity"
    table = Table(
        "share", "rival", "offered/s", "answered/s", "p50 ms", "p99 ms", "failed", "CPU us", "late ms", title=title
    )
    for share, rival in dict.fromkeys((one.share, one.rival) for one in offers):
        found = [one for one in offers if (one.share, one.rival) == (share, rival)]
        figures = [
            f"{_median(found, lambda one: one.rate):,.0f}",
            f"{_median(found, lambda one: one.per_second):,.0f}",
            f"{_median(found, lambda one: one.p50_ms):.2f}",
            f"{_median(found, lambda one: one.p99_ms):.2f}",
            str(sum(one.failed for one in found)),
            f"{_median(found, lambda one: one.cpu_us):,.0f}",
            f"{_median(found, lambda one: one.late_ms):.2f}",
        ]
        table.add_row(f"{share:.0%}", rival, *figures)
    return table


def _seen(seen: Sequence[Seen]) -> Table:
    table = Table(
        "rival", "calls", "not made", "p50 ms", "p99 ms", title=f"open loop by k6, {seen[0].rate:g}/s, one row"
    )
    for rival in dict.fromkeys(one.rival for one in seen):
        found = [one for one in seen if one.rival == rival]
        p50, p99 = _median(found, lambda one: one.p50_ms), _median(found, lambda one: one.p99_ms)
        calls, dropped = sum(one.calls for one in found), sum(one.dropped for one in found)
        table.add_row(rival, str(calls), str(dropped), f"{p50:.2f}", f"{p99:.2f}")
    return table


def _scaled(scaled: Sequence[Scaled]) -> Table:
    table = Table("", "callers", "rows/s", "p50 ms", "p99 ms", "CPU us a row", title="what the mesh's cost grows with")
    for what, count, callers in dict.fromkeys((one.what, one.count, one.callers) for one in scaled):
        found = [one for one in scaled if (one.what, one.count, one.callers) == (what, count, callers)]
        figures = [
            f"{_median(found, lambda one: one.rows_per_second):,.0f}",
            f"{_median(found, lambda one: one.p50_ms):.2f}",
            f"{_median(found, lambda one: one.p99_ms):.2f}",
            f"{_median(found, lambda one: one.row_cpu_us):,.1f}",
        ]
        table.add_row(f"{count} {what}", str(callers), *figures)
    return table


def panels(runs: Sequence[Run], offers: Sequence[Offer]) -> list[Panel]:
    """Return what is drawn: throughput and CPU by callers, and latency by share of capacity; of a tail, ten times the middle."""
    found = []
    if runs:
        found += [
            _by_callers("answers a second", runs, lambda run: run.per_second),
            _by_callers("CPU of all services, us an answer", runs, lambda run: run.total_cpu_us),
        ]
    if offers:
        found.append(_by_share([one for one in offers if one.share < FULL]))
    return found


def _by_callers(title: str, runs: Sequence[Run], value: Callable[[Run], float]) -> Panel:
    callers = sorted({run.callers for run in runs})
    lines = {
        rival: {str(number): _median(of(runs, rival, number), value) for number in callers}
        for rival in dict.fromkeys(run.rival for run in runs)
    }
    return Panel(title, "callers, closed loop", [str(number) for number in callers], lines)


def _by_share(offers: Sequence[Offer]) -> Panel:
    shares = sorted({one.share for one in offers})
    lines = {
        f"{rival}{label}": {
            f"{share:.0%}": _median([one for one in offers if (one.rival, one.share) == (rival, share)], value)
            for share in shares
        }
        for rival in dict.fromkeys(one.rival for one in offers)
        for label, value in (("", _p50), (DASHED, _p99))
    }
    middle = max(value for name, line in lines.items() if not name.endswith(DASHED) for value in line.values())
    return Panel(
        "latency, ms: p50, and p99 (dashed)", "share of capacity, open loop", [f"{share:.0%}" for share in shares], lines,
        highest=_TAIL_SHOWN * middle,
    )  # fmt: skip


def _p50(offer: Offer) -> float:
    return offer.p50_ms


def _p99(offer: Offer) -> float:
    return offer.p99_ms


def _median(found: Iterable[T], value: Callable[[T], float]) -> float:
    return median(value(one) for one in found)
