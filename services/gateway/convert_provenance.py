"""How an answer was made, as the wire has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.gateway.v1 import provenance_pb2
from services.gateway.prediction import NOT_STORED, LadderStep, NodeStep, Outcome, Prediction
from services.gateway.routing import Route, RouteReason
from services.mesh.resilience.effort import NO_EFFORT

if TYPE_CHECKING:
    from services.gateway.target import Target


def frame_of(target: Target) -> provenance_pb2.Provenance:
    """Return what the provenance of every answer of a version says."""
    return provenance_pb2.Provenance(
        model=target.model,
        version=target.version,
        as_of=Timestamp(),
        views=[provenance_pb2.ViewAge(view=view) for view in target.views],
    )


def complete(provenance: provenance_pb2.Provenance, prediction: Prediction) -> None:
    """Add to the frame of the route's version what is of this answer alone."""
    outcome = prediction.outcome
    if prediction.ladder:
        _put_ladder(provenance, prediction)
    else:
        _put_route(provenance, prediction.route)
    provenance.runtime = outcome.runtime
    seconds, micros = divmod(prediction.as_of_us, 1_000_000)
    provenance.as_of.seconds, provenance.as_of.nanos = seconds, micros * 1000
    _put_ages(provenance, outcome.ages_us)
    for found in outcome.degradations:
        provenance.degradations.add(reason=found.reason.value, subject=found.subject, rows=found.rows)
    _put_hops(provenance, outcome)
    provenance.batch_rows = outcome.batch_rows
    provenance.trace_id = prediction.trace_id
    provenance.snapshot_revision = prediction.revision
    if outcome.nodes:
        provenance.nodes.extend(map(_node_step, outcome.nodes))


def _put_route(provenance: provenance_pb2.Provenance, route: Route) -> None:
    provenance.route_reason = route.reason.value  # type: ignore[assignment]  # the wire's number
    if route.arm:
        provenance.release_id = route.arm.release_id


def _put_ladder(provenance: provenance_pb2.Provenance, prediction: Prediction) -> None:
    instead = prediction.answered_by
    if instead is None:
        _put_route(provenance, prediction.route)
    else:
        target = prediction.target
        provenance.route_reason = RouteReason.FALLBACK.value  # type: ignore[assignment]  # the wire's number
        provenance.model, provenance.version = target.model, instead.version
        del provenance.views[:]
        provenance.views.extend(provenance_pb2.ViewAge(view=view) for view in target.views)
    provenance.ladder.extend(map(_ladder_step, prediction.ladder))


def _put_ages(provenance: provenance_pb2.Provenance, ages_us: list[int]) -> None:
    """Tell how old each view is; no view if no version has read them for every row."""
    if not ages_us:
        del provenance.views[:]
        return
    views = len(provenance.views)
    for index, view in enumerate(provenance.views):
        oldest = max(ages_us[index::views])
        if oldest != NOT_STORED:
            view.oldest_age_ms = oldest // 1000


def _put_hops(provenance: provenance_pb2.Provenance, outcome: Outcome) -> None:
    for name, duration in outcome.hops:
        hop = provenance.hops.add(name=name, duration_us=duration)
        if outcome.efforts:
            hop.retries, hop.hedged, hop.breakers_open = outcome.efforts.get(name, NO_EFFORT)


def _node_step(step: NodeStep) -> provenance_pb2.NodeStep:
    return provenance_pb2.NodeStep(
        node=step.node,
        state=step.state.value,  # type: ignore[arg-type]  # the wire's number
        rows=step.rows,
        cause=step.cause,
        duration_us=step.duration_us,
        batch_rows=step.batch_rows,
    )


def _ladder_step(step: LadderStep) -> provenance_pb2.LadderStep:
    return provenance_pb2.LadderStep(
        kind=step.kind.value,  # type: ignore[arg-type]  # the wire's number
        version=step.version,
        answered_rows=step.answered,
        reason=step.left.reason if step.left else "",
        message=step.left.message if step.left else "",
        duration_us=step.duration_us,
        age_ms=step.age_ms,
    )
