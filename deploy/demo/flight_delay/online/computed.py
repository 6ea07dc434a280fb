"""Which runtime computed each row of an answer, as its provenance says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from predictmesh.gateway.v1.provenance_pb2 import DegradationReason, Provenance

_REASONS = {
    value: name.removeprefix("DEGRADATION_REASON_")
    for name, value in DegradationReason.items()
    if name.startswith("DEGRADATION_REASON_RUNTIME_")
}


class Computed(NamedTuple):
    """A runtime, and if it stood in for another: why, such as RUNTIME_FAILED, else empty."""

    runtime: str
    reason: str = ""


@dataclass(frozen=True)
class RuntimeRows:
    """Rows that a runtime computed, and why where it stood in for another."""

    runtime: str
    rows: int
    stood_in: dict[str, int]


def count(rows: Iterable[Computed]) -> tuple[RuntimeRows, ...]:
    """Return the rows of each runtime, first the one with the fewest reasons to stand in."""
    counted = Counter(rows)
    runtimes: dict[str, dict[str, int]] = {}
    for (runtime, reason), number in sorted(counted.items()):
        runtimes.setdefault(runtime, {})[reason] = number
    found = [
        RuntimeRows(runtime, sum(reasons.values()), {reason: rows for reason, rows in reasons.items() if reason})
        for runtime, reasons in runtimes.items()
    ]
    return tuple(sorted(found, key=lambda each: len(each.stood_in)))


def computed(provenance: Provenance, rows: int) -> list[Computed]:
    """Return what computed each row. The runtime is that of the first row, as provenance names no other."""
    found = [Computed(provenance.runtime)] * rows
    for item in provenance.degradations:
        if item.reason in _REASONS:
            # No rows means all of them.
            for row in item.rows or range(rows):
                found[row] = Computed(provenance.runtime, _REASONS[item.reason])
    return found
