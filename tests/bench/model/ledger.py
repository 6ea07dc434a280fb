"""Counts the rows that were computed in vain: sent when their time was over, or answered after it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter

from services.model.batch import Batch

PREFIX = "bench_rows"


class Ledger:
    """Counters among the metrics of a process, in rows."""

    def __init__(self) -> None:
        self._computed = Counter(f"{PREFIX}_computed", "Sent to the runtime.")
        self._gone = Counter(f"{PREFIX}_gone", "Of those, sent when the deadline had passed or the caller had gone.")
        self._late = Counter(f"{PREFIX}_late", "Of those, sent in time, and not answered in time.")

    @contextmanager
    def noted(self, batch: Batch) -> Iterator[None]:
        """Note a batch, which is sent now and answered at the end."""
        sent = time.monotonic()
        gone = [ticket.answer.done() or ticket.call.deadline <= sent for ticket, _ in batch.portions]
        self._computed.inc(batch.rows)
        self._gone.inc(sum(len(rows) for (_, rows), past in zip(batch.portions, gone, strict=True) if past))
        try:
            yield
        finally:
            now = time.monotonic()
            late = [ticket.answer.cancelled() or ticket.call.deadline <= now for ticket, _ in batch.portions]
            found = zip(batch.portions, late, gone, strict=True)
            self._late.inc(sum(len(rows) for (_, rows), missed, past in found if missed and not past))


LEDGER = Ledger()
