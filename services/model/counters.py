"""What one loaded version has done since it was loaded."""

from __future__ import annotations

import time
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


@dataclass(slots=True)
class Counters:
    """Plain numbers, cheap enough for every call; metrics (in a thread) and ModelStatistics read them when asked."""

    succeeded: Tally = field(default_factory=Tally)
    failed: Tally = field(default_factory=Tally)
    queued: Tally = field(default_factory=Tally)
    batches: dict[int, Tally] = field(default_factory=dict)
    """Batches that the runtime computed, by number of rows."""
    rows_in_flight: int = 0
    rows_refused: int = 0
    rows_expired: int = 0
    rows_invalid: int = 0
    last_call_ms: int = 0
    """Time of the last call, Unix milliseconds."""

    def computed(self, rows: int, ns: int) -> None:
        """Count a batch."""
        tally = self.batches.get(rows)
        if tally is None:
            tally = self.batches[rows] = Tally()
        tally.add(ns)

    def answered(self, ns: int, *, well: bool) -> None:
        """Count a call."""
        (self.succeeded if well else self.failed).add(ns)
        self.last_call_ms = time.time_ns() // 1_000_000

    @property
    def rows_computed(self) -> int:
        """Rows of all batches."""
        return sum(rows * tally.count for rows, tally in list(self.batches.items()))

    @property
    def compute_ns(self) -> int:
        """Time of all batches, in nanoseconds."""
        return sum(tally.ns for tally in list(self.batches.values()))
