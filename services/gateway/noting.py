"""What is told of requests that failed, or were answered with less than they could be: by metrics, and in their traces.

One that has no span of its own, as it is not sampled or one of a stream, leaves one all the same, made of what its way
through the gateway has noted, unless very many do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import Event
from opentelemetry.trace import SpanKind

from services.mesh import context as calls
from services.mesh.admission.allowance import Allowance
from services.mesh.telemetry import names
from services.mesh.telemetry.spans import note, record_span

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from services.gateway.prediction import Outcome
    from services.gateway.request import Member, PredictCall
    from services.mesh.context import CallContext
    from services.mesh.errors import MeshError

# A span after the fact costs a tenth of what a prediction does. In an outage all are alike, and where every answer lacks
# something that is how things are: so many a second are enough to look at.
SPANS_PER_S = 100
# A name is no longer; who sends more of it fills no span with that.
MAX_NAME = 127
_spans = Allowance(SPANS_PER_S, saved_s=1.0)


def note_unread(error: MeshError) -> None:
    """Tell of a request of which not even the endpoint was looked for, as it cannot be read."""
    names.PREDICTION_ERRORS.labels("", error.reason).inc()


def note_failed(label: str, call: PredictCall, error: MeshError, start: float) -> None:
    """Tell of a request that has failed, begun at `start` of `time.perf_counter()`; `label` is its endpoint in metrics."""
    names.PREDICTION_ERRORS.labels(label, error.reason).inc()
    running = calls.current()
    if running is not None and running.span is None and _may_leave(running):
        hops = () if call.member is None else _hops_so_far(call.member)
        _leave(running, call, start, {}, _on_the_way(hops, start), error)


def note_degraded(call: PredictCall, outcome: Outcome, start: float) -> None:
    """Tell of an answer in which anything is not as it should be, or rows have failed."""
    if not (outcome.degradations or outcome.row_errors):
        return
    for degradation in outcome.degradations:
        names.DEGRADATIONS.labels(call.endpoint, degradation.reason.name).inc()
    if outcome.row_errors:
        names.ROW_ERRORS.labels(call.endpoint).inc(len(outcome.row_errors))
    running = calls.current()
    if running is not None:
        _trace_degraded(running, call, outcome, start)


def _trace_degraded(running: CallContext, call: PredictCall, outcome: Outcome, start: float) -> None:
    if running.span is not None:
        running.span.set_attribute("degraded", True)
        for name, told in _told(outcome):
            note(running, name, told)
    elif _may_leave(running):
        now_ns = time.time_ns()
        events = [Event(name, told, now_ns) for name, told in _told(outcome)]
        _leave(running, call, start, {"degraded": True}, [*_on_the_way(outcome.hops, start), *events])


def _may_leave(running: CallContext) -> bool:
    """Whether the running call, which has no span of its own, may leave one; if so, it is counted."""
    if running.tracer is None:
        return False
    if not _spans.left():
        names.SPANS_LEFT_OUT.inc()
        return False
    _spans.use()
    return True


def _told(outcome: Outcome) -> Iterator[tuple[str, dict[str, AttributeValue]]]:
    """Yield an event for each degradation, with its rows unless it is of all, and for each reason why rows have failed."""
    for degradation in outcome.degradations:
        told: dict[str, AttributeValue] = {"reason": degradation.reason.name, "subject": degradation.subject}
        yield "degraded", told | ({"rows": degradation.rows} if degradation.rows else {})
    by_reason: dict[str, list[int]] = {}
    for row, error in outcome.row_errors.items():
        by_reason.setdefault(str(error.reason), []).append(row)
    for reason, rows in by_reason.items():
        yield "rows failed", {"reason": reason, "rows": rows}


def _hops_so_far(member: Member) -> Sequence[tuple[str, int]]:
    """Return the hops that a request has made, with the microseconds that each took; the last one has not ended well."""
    now, travel = time.monotonic(), member.travel
    if travel is None:
        return (("queue", _us(now - member.arrived)),)
    queued = ("queue", _us(travel.left - member.arrived))
    if not travel.assembled:
        return queued, ("features", _us(now - travel.left))
    return queued, ("features", _us(travel.assembled - travel.left)), ("model", _us(now - travel.assembled))


def _us(seconds: float) -> int:
    return max(0, int(seconds * 1e6))


def _on_the_way(hops: Sequence[tuple[str, int]], start: float) -> list[Event]:
    """Return an event for the beginning of each hop; they follow each other, and the last one has just ended."""
    took_ns = 1_000 * sum(duration_us for _, duration_us in hops)
    at_ns = max(time.time_ns() - took_ns, _began_ns(start))
    events = []
    for hop, duration_us in hops:
        events.append(Event(hop, {"duration_us": duration_us}, at_ns))
        at_ns += 1_000 * duration_us
    return events


def _began_ns(start: float) -> int:
    return time.time_ns() - int((time.perf_counter() - start) * 1e9)


def _leave(
    running: CallContext,
    call: PredictCall,
    start: float,
    attributes: dict[str, AttributeValue],
    events: Sequence[Event],
    error: MeshError | None = None,
) -> None:
    record_span(
        "predict",
        running,
        SpanKind.SERVER,
        start_ns=_began_ns(start),
        end_ns=time.time_ns(),
        attributes={"endpoint": call.endpoint[:MAX_NAME], "request.id": running.request_id, **attributes},
        events=events,
        error=error,
    )
