"""The two hops of a model version's predictions. A batch travels both together: one future a request, two calls a batch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Protocol

from opentelemetry.trace import SpanContext, SpanKind

from services.gateway.assembly import model_inputs
from services.gateway.batch import Batch
from services.gateway.budget import Budget
from services.gateway.prediction import NOT_STORED, FeatureRows, Inference, Outcome
from services.gateway.request import Travel
from services.gateway.slices import explanation_of, outcome_of, sliced, starts
from services.mesh import context as calls
from services.mesh.coalescing import START_S, Coalescer, Quantile
from services.mesh.deadline import Deadline
from services.mesh.errors import DeadlineExceeded, Internal, MeshError, Reason
from services.mesh.telemetry import names
from services.mesh.telemetry.spans import span, span_context

if TYPE_CHECKING:
    from services.gateway.request import Member
    from services.gateway.target import Target

logger = logging.getLogger(__name__)
# What a model can fail a whole batch with for the sake of one row.
OF_SOME_ROW = frozenset({Reason.RUNTIME_FAILED, Reason.INVALID_OUTPUT})


class Features(Protocol):
    """The feature service, as a lane calls it."""

    async def get(
        self, target: Target, keys: Sequence[Sequence[str] | Sequence[int]], as_of_us: Sequence[int], deadline: Deadline,
        *, want_origins: bool,
    ) -> FeatureRows:  # fmt: skip
        """Return the values of the target's plan for rows given as key columns."""


class Model(Protocol):
    """The model service, as a lane calls it."""

    async def infer(
        self, target: Target, tensors: Sequence[bytes], remaining_ms: Sequence[int], deadline: Deadline
    ) -> Inference:
        """Return the target's outputs for packed inputs; `remaining_ms` has one entry a row."""


class Lane:
    """Coalesces the requests for one target. Only one lane of a target at a time may be `measured`: the callers'."""

    def __init__(
        self,
        target: Target,
        features: Features,
        model: Model,
        *,
        max_rows: int,
        max_queued_rows: int,
        measured: bool = True,
    ) -> None:
        self.target = target
        self._features = features
        self._model = model
        self._coalescer: Coalescer[Member] = Coalescer(
            self._travel, max_rows=max_rows, max_queued_rows=max_queued_rows, due=_due
        )
        self._answered = Quantile(0.99, start=START_S)
        self._budget = Budget()
        self._measured = measured
        if measured:
            # Read when it is scraped: the path of a request does nothing for it.
            names.QUEUE_ROWS.labels(target.model, target.version).set_function(lambda: self.queued_rows)
        hop_duration, batch_rows = names.HOP_DURATION, names.BATCH_ROWS
        self._features_duration = hop_duration.labels("features")
        self._model_duration = hop_duration.labels("model")
        self._batch_rows = batch_rows.labels("predict")
        self._ages = [names.FEATURE_AGE.labels(view) for view in target.views]

    @property
    def idle(self) -> bool:
        """Whether nobody waits for an answer."""
        return self._coalescer.idle

    @property
    def queued_rows(self) -> int:
        """How many rows wait for a batch to leave."""
        return self._coalescer.queued_rows

    @property
    def p99_s(self) -> float:
        """How long nearly all batches take, in seconds, as far as it is known."""
        return self._coalescer.p99_s

    @property
    def answered_s(self) -> float:
        """How long nearly all wait who are answered, in seconds, as far as it is known: a version that hangs says nothing."""
        return self._answered.value

    @property
    def _beyond_s(self) -> float:
        """How long nearly all batches take after the computation that follows their features, in seconds."""
        return 0.0

    def retire(self) -> None:
        """Take a measured lane out of the metrics, which would keep it for ever; what is under way ends as it began."""
        names.QUEUE_ROWS.remove(self.target.model, self.target.version)

    async def answer(self, member: Member) -> Outcome:
        """Return the member's outcome when its batch is back; DeadlineExceeded as soon as its own time is over."""
        remaining = member.deadline.remaining()
        if remaining <= 0:
            raise DeadlineExceeded("the deadline had passed when the request arrived")
        self._coalescer.submit(member)
        timer = asyncio.get_running_loop().call_later(remaining, _expire, member)
        try:
            outcome = await member.answer
            self._answered.observe(time.monotonic() - member.arrived)
            return outcome
        finally:
            timer.cancel()
            # Without an answer the caller has left, or was told that his time is over.
            if member.answer.cancelled() or member.answer.exception() is not None:
                self._coalescer.left(member)

    async def _travel(self, members: list[Member]) -> None:
        rows = sum(member.rows for member in members)
        await self._accompany(lambda: members, rows, self._both_hops(members, rows))

    async def _accompany(
        self, waiting: Callable[[], list[Member]], rows: int, work: Coroutine[None, None, None]
    ) -> None:
        """Do work on some rows in the trace of those who wait for it; if it fails, they are told.

        If it is cancelled, that is for want of anybody who still waits for these rows; some may wait for others.
        """
        members = waiting()
        batch_call = _call_of(members)
        calls.use(batch_call)
        try:
            if batch_call is not None and batch_call.sampled and batch_call.tracer is not None:
                with span("batch", batch_call, SpanKind.INTERNAL, links=_links(members), attributes={"rows": rows}):
                    await work
            else:
                await work
        except MeshError as error:
            _fail(members, error)
        except asyncio.CancelledError:
            _fail(waiting(), DeadlineExceeded("the batch was cancelled: everybody in it had gone"))
        except Exception:
            logger.exception("a batch failed", extra={"model": self.target.model, "version": self.target.version})
            _fail(members, Internal("internal error; the server's log has the cause under this call's trace id"))

    async def _both_hops(self, members: list[Member], rows: int) -> None:
        started, start = time.monotonic(), time.perf_counter_ns()
        travel = Travel(started)
        for member in members:
            member.travel = travel
        deadline = Deadline(max(member.deadline.at for member in members))
        features = None
        if self.target.plan is not None:
            features = await self._get_features(members, self._budget.for_features(deadline, self._beyond_s))
        assembled = time.perf_counter_ns()
        came = travel.assembled = time.monotonic()
        tensors = model_inputs(self.target, members, rows, features)
        batch = Batch(members, rows, deadline, features, tensors, started, (assembled - start) // 1000, assembled)
        if features is not None:
            batch.note("features", features.effort)
        if self._measured:
            self._observe_features(batch)
        await self._compute(batch)
        self._budget.took(came - started, time.monotonic() - came)

    async def _compute(self, batch: Batch) -> None:
        """Answer every member of a batch whose features are there."""
        members = batch.members
        try:
            inference = await self._model.infer(self.target, batch.tensors, _remaining_ms(members), batch.deadline)
        except MeshError as error:
            if len(members) == 1 or error.reason not in OF_SOME_ROW:
                raise
            # What some member sent made the batch fail, so each is computed alone.
            pairs = zip(members, starts(members), strict=True)
            await asyncio.gather(*(self._compute_alone(batch, member, start) for member, start in pairs))
        else:
            batch.note("model", inference.effort)
            end_ns = time.perf_counter_ns()
            for member, start in zip(members, starts(members), strict=True):
                self._hand_over(batch, member, start, inference, start, end_ns)
        if self._measured:
            self._model_duration.observe((time.perf_counter_ns() - batch.assembled_ns) / 1e9)

    async def _compute_alone(self, batch: Batch, member: Member, start: int) -> None:
        own = None if batch.features is None else sliced(self.target, batch.features, start, member.rows)
        tensors = model_inputs(self.target, [member], member.rows, own)
        try:
            inference = await self._model.infer(self.target, tensors, _remaining_ms([member]), member.deadline)
        except MeshError as error:
            _fail([member], error)
        else:
            batch.note("model", inference.effort)
            self._hand_over(batch, member, start, inference, 0, time.perf_counter_ns())

    def _hand_over(
        self, batch: Batch, member: Member, start: int, inference: Inference, first: int, end_ns: int
    ) -> None:
        """Answer a member whose rows begin at `start` in the batch, and at `first` in the inference."""
        if member.done():
            return
        outcome = outcome_of(self.target, member, start, batch.features, inference, first)
        if isinstance(outcome, MeshError):
            member.answer.set_exception(outcome)
            return
        if member.explain:
            outcome.explanation = explanation_of(self.target, member, start, batch.features, batch.tensors)
        batch.hand_over(member, outcome, end_ns)

    async def _get_features(self, members: list[Member], deadline: Deadline) -> FeatureRows:
        if len(members) == 1:
            keys = members[0].keys
        else:
            columns = range(len(self.target.keys))
            keys = [list(chain.from_iterable(member.keys[column] for member in members)) for column in columns]  # type: ignore[misc]
        as_of = list(chain.from_iterable(repeat(member.as_of_us, member.rows) for member in members))
        want_origins = any(member.explain for member in members)
        return await self._features.get(self.target, keys, as_of, deadline, want_origins=want_origins)

    def _observe_features(self, batch: Batch) -> None:
        self._batch_rows.observe(batch.rows)
        features = batch.features
        if features is None:
            return
        self._features_duration.observe(batch.features_us / 1e6)
        for view, histogram in enumerate(self._ages):
            oldest = max(features.ages_us[view :: len(self._ages)].tolist())
            if oldest != NOT_STORED:
                histogram.observe(oldest / 1e6)


def _due(member: Member) -> float:
    return member.deadline.at


def _expire(member: Member) -> None:
    if not member.answer.done():
        member.answer.set_exception(DeadlineExceeded("the deadline passed before the answer was there"))


def _fail(members: Sequence[Member], error: MeshError) -> None:
    for member in members:
        if not member.done():
            member.answer.set_exception(error)


def _remaining_ms(members: Sequence[Member]) -> list[int]:
    now = time.monotonic()
    # The model drops the rows of those who have left since they were put together.
    left = [(0 if each.done() else max(0, int((each.deadline.at - now) * 1000)), each.rows) for each in members]
    return list(chain.from_iterable(repeat(ms, rows) for ms, rows in left))


def _call_of(members: Sequence[Member]) -> calls.CallContext | None:
    """Return the context that a batch runs in: a child of its oldest traced request."""
    known = [member.call for member in members if member.call is not None]
    chosen = next((call for call in known if call.sampled), known[0] if known else None)
    if chosen is None:
        return None
    return calls.CallContext(chosen.request_id, chosen.trace_id, chosen.span_id, chosen.sampled, tracer=chosen.tracer)


def _links(members: Sequence[Member]) -> list[SpanContext]:
    return [
        span_context(member.call.trace_id, member.call.span_id)
        for member in members
        if member.call is not None and member.call.sampled and member.call.span_id
    ]
