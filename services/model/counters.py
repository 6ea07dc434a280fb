"""What one loaded version has done since it was loaded."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """How often, and how long in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Count one more."""
        self.count += 1
        self.ns += ns


def total(tallies: Iterable[Tally]) -> Tally:
    """Add up."""
    counts = [(tally.count, tally.ns) for tally in tallies]
    return Tally(sum(count for count, _ in counts), sum(ns for _, ns in counts))


@dataclass(slots=True)
class CallCounters:
    """Calls of a version. Plain numbers, cheap enough for every call; metrics (in a thread) read them when asked."""

    succeeded: Tally = field(default_factory=Tally)
    failed: Tally = field(default_factory=Tally)
    rows_in_flight: int = 0
    rows_refused: dict[str, int] = field(default_factory=dict)
    """Rows not computed, by reason."""
    rows_invalid: int = 0
    """Rows on which the model failed, or was not finite."""
    last_call_ms: int = 0
    """Time of the last call, Unix milliseconds."""

    def answered(self, ns: int, *, well: bool) -> None:
        """Count a call."""
        (self.succeeded if well else self.failed).add(ns)
        self.last_call_ms = time.time_ns() // 1_000_000

    def refused(self, reason: str, rows: int) -> None:
        """Count rows that are not computed."""
        self.rows_refused[reason] = self.rows_refused.get(reason, 0) + rows


@dataclass(slots=True)
class BatchCounters:
    """Batches of a version on one runtime."""

    queued: Tally = field(default_factory=Tally)
    """How long the first row of each batch had waited."""
    batches: dict[int, Tally] = field(default_factory=dict)
    """Batches that were computed, by number of rows."""
    failed: dict[str, int] = field(default_factory=dict)
    """Batches that were not, by reason."""

    def computed(self, rows: int, ns: int) -> None:
        """Count a batch."""
        tally = self.batches.get(rows)
        if tally is None:
            tally = self.batches[rows] = Tally()
        tally.add(ns)

    @property
    def rows(self) -> int:
        """Rows of all batches."""
        return sum(rows * tally.count for rows, tally in list(self.batches.items()))

    @property
    def compute(self) -> Tally:
        """All batches."""
        return total(list(self.batches.values()))
