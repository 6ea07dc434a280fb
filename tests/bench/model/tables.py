"""What was measured, as tables and as figures beside their budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import TypeVar

from rich.table import Table

from tests.bench.model.measure import INSIDE, STREAMS, UNARY, Called, Closed, Open
from tests.bench.report import Figure, console

LEARNT, ONE, FIXED, DYNAMIC = "by deadline and cost", "of one row", "of 128, 2 ms", "by Triton, 2 ms"
"""Who puts rows together, in words."""
THROUGH, STREAMED, DIRECT = "the model service", "the model service, over streams", "Triton itself"
DIRECT_DYNAMIC = "Triton itself, batching"
DEADLINE_MS = 50
WORST = 1.5
_ADDED_MS = 0.8

R = TypeVar("R", Closed, Open, Called)


def figures(runs: Sequence[Closed | Open | Called]) -> list[Figure]:
    """Compare what was measured side by side."""
    return [*_batched(_only(Closed, runs)), *_overloaded(_only(Open, runs)), *_added(_only(Called, runs))]


def _batched(runs: Sequence[Closed]) -> Iterable[Figure]:
    for way, words in ((INSIDE, "in process"), (STREAMS, "calls over streams"), (UNARY, "unary calls")):
        ours, one = (_of(runs, rival=rival, way=way) for rival in (LEARNT, ONE))
        ratios = [batched.rows_per_second / single.rows_per_second for batched, single in zip(ours, one, strict=True)]
        yield Figure(f"rows/s beside batches of one row, 64 callers, {words}", ratios, "x", 5, at_most=False)
        yield Figure(f"p99 of 64 callers, {words}", [run.p99_ms for run in ours], "ms", DEADLINE_MS)
        yield Figure(f"not answered in {DEADLINE_MS} ms, {words}", [run.unanswered for run in ours], "calls", 0)


def _overloaded(runs: Sequence[Open]) -> Iterable[Figure]:
    ours, fixed = (_of(runs, rival=rival, load=WORST) for rival in (LEARNT, FIXED))
    name = f"goodput at {WORST:g}x of capacity"
    yield Figure(f"{name}, beside capacity", [run.goodput / run.capacity for run in ours], "x", 0.9, at_most=False)
    beside = [run.goodput / max(1.0, other.goodput) for run, other in zip(ours, fixed, strict=True)]
    yield Figure(f"{name}, beside first come, first served", beside, "x", 1, at_most=False)
    gone = [run.in_vain for run in _of(runs, rival=LEARNT)]
    yield Figure("computed for callers who have gone, any load", gone, "rows/s", 0)


def _added(runs: Sequence[Called]) -> Iterable[Figure]:
    through, direct = (_of(runs, rival=rival, callers=1) for rival in (THROUGH, DIRECT))
    added = [ours.p50_ms - own.p50_ms for ours, own in zip(through, direct, strict=True)]
    yield Figure("p50 at one caller, model service minus Triton itself", added, "ms", _ADDED_MS)
    for rival in (STREAMED, THROUGH):
        ours, direct = (_of(runs, rival=name, callers=32) for name in (rival, DIRECT))
        ratios = [_cpu(through) / _cpu(own) for through, own in zip(ours, direct, strict=True)]
        yield Figure(f"CPU a row at 32 callers, all processes: {rival} beside Triton itself", ratios, "x", 1)


def show(runs: Sequence[Closed | Open | Called]) -> None:
    """Print a table for each kind of measurement."""
    for table in (_closed(_only(Closed, runs)), _open(_only(Open, runs)), _called(_only(Called, runs))):
        console().print(table)


def _closed(runs: Sequence[Closed]) -> Table:
    table = Table("calls", "batches", "rows/s", "p50 ms", "p99 ms", "not in time", title="64 callers, one row a call")
    for found in _groups(runs, lambda run: (run.way, run.rival)):
        table.add_row(
            found[0].way,
            found[0].rival,
            f"{median(run.rows_per_second for run in found):,.0f}",
            f"{median(run.p50_ms for run in found):.1f}",
            f"{median(run.p99_ms for run in found):.1f}",
            f"{median(run.unanswered for run in found):,.0f}",
        )
    return table


def _open(runs: Sequence[Open]) -> Table:
    columns = ("load", "batches", "rows/s in time", "of capacity", "budget", "missed", "refused", "p99 ms", "in vain/s")
    table = Table(*columns, "late/s", title="calls by chance, each with 20 ms or 200 ms")
    for found in _groups(runs, lambda run: (run.load, run.rival)):
        for number, budget in enumerate(sorted(found[0].missed, key=float)):
            first = [
                f"{found[0].load:g}x",
                found[0].rival,
                f"{median(run.goodput for run in found):,.0f}",
                f"{median(run.goodput / run.capacity for run in found):.2f}",
            ]
            last = [f"{median(run.in_vain for run in found):,.0f}", f"{median(run.late for run in found):,.0f}"]
            table.add_row(
                *([""] * 4 if number else first),
                f"{budget} ms",
                f"{median(run.missed[budget] for run in found):.1%}",
                f"{median(run.refused[budget] for run in found):.1%}",
                f"{median(run.p99_ms[budget] for run in found):.1f}",
                *([""] * 2 if number else last),
            )
    return table


def _called(runs: Sequence[Called]) -> Table:
    table = Table(
        "callers", "asked", "rows/s", "p50 ms", "CPU us a row", "of which", title="tritonclient, one row a call"
    )
    for found in _groups(runs, lambda run: (run.callers, run.rival)):
        parts = {kind: median(run.cpu_us[kind] for run in found) for kind in found[0].cpu_us}
        table.add_row(
            str(found[0].callers),
            found[0].rival,
            f"{median(run.per_second for run in found):,.0f}",
            f"{median(run.p50_ms for run in found):.2f}",
            f"{median(_cpu(run) for run in found):,.0f}",
            ", ".join(f"{kind} {cpu:,.0f}" for kind, cpu in parts.items()),
        )
    return table


def _cpu(run: Called) -> float:
    return sum(run.cpu_us.values())


def _only(kind: type[R], runs: Iterable[Closed | Open | Called]) -> list[R]:
    return [run for run in runs if isinstance(run, kind)]


def _of(runs: Iterable[R], **wanted: object) -> list[R]:
    return [run for run in runs if all(getattr(run, name) == value for name, value in wanted.items())]


def _groups(runs: Iterable[R], key: Callable[[R], object]) -> list[list[R]]:
    """Put the repeats together, in the order of the first of each."""
    groups: dict[object, list[R]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())
