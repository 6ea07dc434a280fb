"""One prediction: route, check, travel with the others, answer with provenance."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

from opentelemetry.util.types import AttributeValue
from prometheus_client import Histogram

from services.gateway.checks import member_of
from services.gateway.lane import Features, Lane, Model
from services.gateway.prediction import Degradation, DegradationReason, Prediction
from services.gateway.request import PredictCall
from services.gateway.routing import RoutingTable
from services.gateway.target import Target
from services.mesh import context as calls
from services.mesh.deadline import Deadline
from services.mesh.errors import MeshError, NotReady
from services.mesh.telemetry import names
from services.mesh.telemetry.tracing import record_span


class PredictFlow:
    """Answers predictions by the newest routing table.

    `registry_reachable` tells whether the table can be out of date; every answer given while it may be says so. That
    includes the moments after a start in which a stored table serves and the registry has not been heard of yet.
    """

    def __init__(
        self,
        features: Features,
        model: Model,
        *,
        registry_reachable: Callable[[], bool],
        max_batch_rows: int,
        max_queued_rows: int,
    ) -> None:
        self._features = features
        self._model = model
        self._registry_reachable = registry_reachable
        self._max_batch_rows = max_batch_rows
        self._max_queued_rows = max_queued_rows
        self._lanes: dict[Target, Lane] = {}
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

    def use(self, table: RoutingTable) -> None:
        """Route by `table` from now on. Batches under way end as they began."""
        live = {target for endpoint in table.endpoints.values() for target in endpoint.versions.values()}
        for target in self._lanes.keys() - live:
            self._lanes.pop(target).retire()
        self._table = table

    async def run(self, call: PredictCall) -> Prediction:
        """Answer one request; raises a MeshError if none of its rows can be answered."""
        start = time.perf_counter()
        running = calls.current()
        table = self.table
        version = ""
        try:
            endpoint = table.endpoint(call.endpoint)
            route = endpoint.choose(call.pin)
            version = route.target.version
            deadline = call.deadline or Deadline.after(endpoint.default_timeout_s)
            member = member_of(call, route.target, deadline, running)
            # To explain costs a batch more than to predict, so whoever asks travels alone.
            lane = self._new_lane(route.target) if call.explain else self._lane(route.target)
            outcome = await lane.answer(member)
        except MeshError as error:
            names.PREDICTION_ERRORS.labels(call.endpoint if version else "", error.reason).inc()
            _record_failure(running, call.endpoint, error, start)
            raise
        if not self._registry_reachable():
            outcome.degradations.append(Degradation(DegradationReason.REGISTRY_UNREACHABLE, "registry", []))
        if outcome.degradations or outcome.row_errors:
            _count_degraded(call.endpoint, outcome.degradations, len(outcome.row_errors))
            if running is not None and not running.sampled:
                _record(running, call.endpoint, start, {"degraded": True})
        _duration(call.endpoint, version).observe(time.perf_counter() - start)
        return Prediction(
            prediction_id=call.prediction_id or calls.new_trace_id(),
            route=route,
            rows=member.rows,
            outcome=outcome,
            as_of_us=call.as_of_us,
            trace_id=running.trace_id if running is not None else "",
            revision=table.revision,
        )

    def _lane(self, target: Target) -> Lane:
        lane = self._lanes.get(target)
        if lane is None:
            lane = self._lanes[target] = self._new_lane(target)
        return lane

    def _new_lane(self, target: Target) -> Lane:
        return Lane(
            target, self._features, self._model, max_rows=self._max_batch_rows, max_queued_rows=self._max_queued_rows
        )


@cache
def _duration(endpoint: str, version: str) -> Histogram:
    return names.PREDICTIONS.labels(endpoint, version)


def _count_degraded(endpoint: str, degradations: list[Degradation], failed_rows: int) -> None:
    for degradation in degradations:
        names.DEGRADATIONS.labels(endpoint, degradation.reason.name).inc()
    if failed_rows:
        names.ROW_ERRORS.labels(endpoint).inc(failed_rows)


def _record_failure(running: calls.CallContext | None, endpoint: str, error: MeshError, start: float) -> None:
    if running is not None and not running.sampled:
        _record(running, endpoint, start, {"error.type": str(error.reason)})


def _record(running: calls.CallContext, endpoint: str, start: float, attributes: dict[str, AttributeValue]) -> None:
    """Leave one span of a request that was not sampled but that somebody will ask about."""
    end_ns = time.time_ns()
    start_ns = end_ns - int((time.perf_counter() - start) * 1e9)
    record_span("predict", running, start_ns=start_ns, end_ns=end_ns, attributes={"endpoint": endpoint, **attributes})
