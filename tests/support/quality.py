"""The registry's side of predictions and outcomes, in memory, for the gateway's tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from services.gateway.outcomes import Outcome
from services.gateway.policies import OutcomeKind
from services.gateway.records import Record
from services.mesh.context import current
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, MeshError, Reason, RemoteError


class MemoryQuality:
    """Keeps predictions, and takes one outcome a row of what it keeps. Closed `gate` holds calls; `failures` come first."""

    def __init__(self) -> None:
        self.kept: dict[str, Record] = {}
        self.labels: dict[tuple[str, int], float] = {}
        self.batches: list[list[str]] = []
        self.outcome_batches: list[list[Outcome]] = []
        self.traces: list[str] = []
        self.failures: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def keep(self, records: Sequence[Record]) -> None:
        self.batches.append([record.prediction_id for record in records])
        await self._pass()
        for record in records:
            self.kept.setdefault(record.prediction_id, record)

    async def record(self, outcomes: Sequence[Outcome], deadline: Deadline) -> Sequence[bool | MeshError]:
        assert deadline.remaining() > 0
        self.outcome_batches.append(list(outcomes))
        running = current()
        self.traces.append(running.trace_id if running else "")
        await self._pass()
        return [self._take(outcome) for outcome in outcomes]

    async def _pass(self) -> None:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)

    def _take(self, outcome: Outcome) -> bool | MeshError:
        if outcome.prediction_id not in self.kept:
            return RemoteError(Code.NOT_FOUND, Reason.UNKNOWN_PREDICTION, f"{outcome.prediction_id} is not kept")
        place = (outcome.prediction_id, outcome.row)
        existed = place in self.labels
        if self.labels.setdefault(place, outcome.label) != outcome.label:
            return RemoteError(Code.ALREADY_EXISTS, Reason.ALREADY_EXISTS, "another label is kept")
        return existed


def record(prediction_id: str, scores: Sequence[float] = (0.5,), **parts: Any) -> Record:
    """What is kept of a prediction of endpoint m."""
    fixed: dict[str, Any] = {
        "endpoint": "m",
        "model": "m",
        "version": "1.0.0",
        "release_id": 0,
        "step": 0,
        "as_of_us": 1,
        "kind": OutcomeKind.BINARY,
        "expire_us": 2,
        "served": None,
    }
    return Record(prediction_id=prediction_id, scores=list(scores), **{**fixed, **parts})


def away() -> MeshError:
    """What a call to a registry that is not there fails with."""
    return RemoteError(Code.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE, "the registry cannot be reached")
