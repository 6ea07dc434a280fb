"""One prediction: route, check, travel with the others, answer with provenance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import cache

from prometheus_client import Histogram

from services.gateway.checks import member_of
from services.gateway.ladder.descent import Ladder
from services.gateway.ladder.last_answers import LastAnswers
from services.gateway.lane import Features, Model
from services.gateway.lanes import Lanes
from services.gateway.noting import note_degraded, note_failed
from services.gateway.observing import Observer, Observers
from services.gateway.prediction import Degradation, DegradationReason, LadderStep, Outcome, Prediction
from services.gateway.request import PredictCall
from services.gateway.routing import Endpoint, Route, RoutingTable
from services.mesh import context as calls
from services.mesh.deadline import Deadline, still_heard
from services.mesh.errors import DeadlineExceeded, Internal, MeshError, NotReady
from services.mesh.telemetry import names

# How much earlier than at its deadline a call may be ended for it: at least, and of the time that it took.
EARLY_S = 0.01
EARLY_SHARE = 0.01


class PredictFlow:
    """Answers predictions by the newest routing table.

    `registry_reachable` tells whether the table can be out of date; every answer given while it may be says so. That
    includes the moments after a start in which a stored table serves and the registry has not been heard of yet.
    `observers` hear of every request that was routed; `last_answers` are those that fallbacks may take.
    """

    def __init__(
        self,
        features: Features,
        model: Model,
        *,
        last_answers: LastAnswers,
        registry_reachable: Callable[[], bool],
        max_batch_rows: int,
        max_queued_rows: int,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._lanes = Lanes(features, model, max_batch_rows=max_batch_rows, max_queued_rows=max_queued_rows)
        self._last_answers = last_answers
        self._ladder = Ladder(self._lanes, last_answers)
        self._registry_reachable = registry_reachable
        self._observers = Observers(observers)
        self._table: RoutingTable | None = None

    @property
    def table(self) -> RoutingTable:
        """The routing table in use; NotReady before the first snapshot."""
        if self._table is None:
            raise NotReady("the gateway has no definitions yet: the registry, object storage and disk gave none")
        return self._table

    @property
    def ready(self) -> bool:
        """Whether there is a table."""
        return self._table is not None

    @property
    def idle(self) -> bool:
        """Whether no caller waits for a version's answer."""
        return self._lanes.idle

    def use(self, table: RoutingTable) -> None:
        """Route by `table` from now on. Batches under way end as they began."""
        models = {id(endpoint.versions): endpoint.versions for endpoint in table.endpoints.values()}
        self._lanes.use({target for versions in models.values() for target in versions.targets.values()})
        self._last_answers.use(table)
        self._table = table

    async def run(self, call: PredictCall) -> Prediction:
        """Answer one request; raises a MeshError if none of its rows can be answered."""
        start = time.perf_counter()
        # Named before anything is done, since the name may decide what is done.
        prediction_id = call.prediction_id or calls.new_trace_id()
        try:
            table = self.table
            endpoint = table.endpoint(call.endpoint)
            route = endpoint.choose(call.pin, prediction_id, call.entities)
        except MeshError as error:
            note_failed(self._label(call.endpoint), call, error, start)
            raise
        try:
            rows, outcome, ladder = await self._answer(call, prediction_id, endpoint, route)
        except (Exception, asyncio.CancelledError) as error:
            failure = _failure(error, call.deadline, start)
            if failure is not None:
                note_failed(call.endpoint, call, failure, start)
                self._observers.failed(call, endpoint, route, failure, time.perf_counter() - start)
            raise
        running = calls.current()
        prediction = Prediction(
            prediction_id=prediction_id,
            route=route,
            rows=rows,
            outcome=outcome,
            as_of_us=call.as_of_us,
            trace_id=running.trace_id if running is not None else "",
            revision=table.revision,
            ladder=ladder,
        )
        note_degraded(call, outcome, start)
        seconds = time.perf_counter() - start
        _duration(call.endpoint, route.target.version).observe(seconds)
        self._observers.answered(call, endpoint, prediction, seconds)
        return prediction

    def _label(self, endpoint: str) -> str:
        """Return how metrics call an endpoint: a name that the caller made up must not become a label."""
        return endpoint if self._table is not None and endpoint in self._table.endpoints else ""

    async def _answer(
        self, call: PredictCall, prediction_id: str, endpoint: Endpoint, route: Route
    ) -> tuple[int, Outcome, Sequence[LadderStep]]:
        """Return how many rows the request has, the answer, and the steps of the ladder if the route's version failed."""
        deadline = call.deadline or Deadline.after(endpoint.default_timeout_s)
        call.member = member = member_of(call, route.target, deadline, calls.current())
        if endpoint.outcomes is not None and endpoint.outcomes.captures(prediction_id):
            member.explain = True
        ladder: Sequence[LadderStep] = ()
        if endpoint.fallbacks and not (call.pin or call.explain):
            outcome, ladder = await self._ladder.answer(call, endpoint, route.target, member)
        else:
            # To explain costs a batch more than to predict, so people who ask for it travel alone.
            lane = self._lanes.apart(route.target) if call.explain else self._lanes.of(route.target)
            if call.deadline is not None:
                member.deadline = still_heard(deadline)
            outcome = await lane.answer(member)
        if not self._registry_reachable():
            outcome.degradations.append(Degradation(DegradationReason.REGISTRY_UNREACHABLE, "registry", []))
        return member.rows, outcome, ladder


def _failure(error: BaseException, deadline: Deadline | None, start: float) -> MeshError | None:
    """Return what a request has failed with; None if its caller has cancelled it.

    gRPC cancels a call at its deadline, and may do so a little before we see it passed: timeouts are sent with few digits,
    rounded up.
    """
    if isinstance(error, MeshError):
        return error
    if not isinstance(error, asyncio.CancelledError):
        return Internal("internal error")
    tolerance = EARLY_S + EARLY_SHARE * (time.perf_counter() - start)
    is_over = deadline is not None and deadline.remaining() < tolerance
    return DeadlineExceeded("the call was ended at its deadline") if is_over else None


@cache
def _duration(endpoint: str, version: str) -> Histogram:
    return names.PREDICTIONS.labels(endpoint, version)
