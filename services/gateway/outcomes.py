"""What came true of predictions, on its way to the registry: what arrives together is recorded together."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.mesh import context as calls
from services.mesh.coalescing import Coalescer
from services.mesh.deadline import Deadline
from services.mesh.errors import DeadlineExceeded, Internal, InvalidArgument, MeshError, MissingField

logger = logging.getLogger(__name__)
# What QualityService takes in one call.
MAX_BATCH = 1_000
MAX_QUEUED = 10_000
# Of a call without a deadline. The registry answers when an outcome is on its disk.
DEFAULT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came true of one row of a prediction, and when it was known, in microseconds since the epoch."""

    prediction_id: str
    row: int
    label: float
    time_us: int

    def check(self) -> None:
        """Raise an InvalidArgument for what no prediction can have."""
        if not self.prediction_id:
            raise MissingField("an outcome needs the prediction_id that was answered", field="prediction_id")
        if not math.isfinite(self.label):
            raise InvalidArgument(f"label is {self.label}, not a finite number", field="label")


class Ledger(Protocol):
    """Where outcomes are recorded."""

    async def record(self, outcomes: Sequence[Outcome], deadline: Deadline) -> Sequence[bool | MeshError]:
        """Record outcomes, at most MAX_BATCH; return for each whether it had been there before, or why it is refused."""


@dataclass(slots=True, eq=False)
class _Member:
    """An outcome on its way, and who waits for the answer."""

    outcome: Outcome
    deadline: Deadline
    call: calls.CallContext | None
    answer: asyncio.Future[bool]
    rows: int = 1

    def done(self) -> bool:
        """Return whether nobody waits any more."""
        return self.answer.done()


class OutcomeFlow:
    """Records outcomes in the ledger. `settle` hands over the prediction if it still waits in this process."""

    def __init__(self, ledger: Ledger, settle: Callable[[str], Awaitable[None]]) -> None:
        self._ledger = ledger
        self._settle = settle
        self._coalescer: Coalescer[_Member] = Coalescer(
            self._travel, max_rows=MAX_BATCH, max_queued_rows=MAX_QUEUED, due=lambda member: member.deadline.at
        )

    async def run(self, outcome: Outcome, deadline: Deadline | None) -> bool:
        """Record one outcome, and return whether it had been recorded before; raises MeshErrors."""
        outcome.check()
        deadline = deadline or Deadline.after(DEFAULT_TIMEOUT_S)
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._settle(outcome.prediction_id)
                return await self._recorded(outcome, deadline)
        except TimeoutError as error:
            raise DeadlineExceeded(
                "the outcome was not recorded in time; it may be yet, and may be sent again"
            ) from error

    async def _recorded(self, outcome: Outcome, deadline: Deadline) -> bool:
        member = _Member(outcome, deadline, calls.current(), asyncio.get_running_loop().create_future())
        self._coalescer.submit(member)
        try:
            return await member.answer
        finally:
            if member.answer.cancelled():
                self._coalescer.left(member)

    async def _travel(self, members: list[_Member]) -> None:
        """Record a batch; answers each of its members, whatever happens."""
        # Else it would be part of the trace of whoever came when the batches before it began.
        calls.use(members[0].call)
        deadline = Deadline(max(member.deadline.at for member in members))
        results: Sequence[bool | MeshError]
        try:
            results = await self._ledger.record([member.outcome for member in members], deadline)
        except MeshError as error:
            results = [error] * len(members)
        except Exception:
            logger.exception("outcomes could not be recorded")
            results = [Internal("internal error; the server's log has the cause under this call's trace id")] * len(
                members
            )
        for member, result in zip(members, results, strict=True):
            if member.done():
                continue
            if isinstance(result, MeshError):
                member.answer.set_exception(result)
            else:
                member.answer.set_result(result)
