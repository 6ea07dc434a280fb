"""Spans of sampled calls, and of calls that left one after the fact.

They are handed to OpenTelemetry's SDK when they have ended. Its own spans, which may be changed from any thread and are
limited in all they hold, cost a request four times as much.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from services.mesh import context as calls
from services.mesh.context import CallContext
from services.mesh.errors import MeshError
from services.mesh.texts import cut

_SCOPE = InstrumentationScope("predictmesh")
_UNSET = Status()
# Callers' own words may be in a message, and a collector takes no more than a few megabytes at once.
MAX_MESSAGE_BYTES = 1_000


class Tracer:
    """Takes the spans of one service when they have ended."""

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        self._resource = Resource.create({"service.name": f"predictmesh-{service}"})
        self._processor = processor

    def take(self, span: Span, end_ns: int) -> None:
        """Hand over a span that ended at `end_ns`."""
        ended = ReadableSpan(
            span.name,
            span_context(span.trace_id, span.span_id, remote=False),
            span_context(span.trace_id, span.parent_id) if span.parent_id else None,
            self._resource,
            span.attributes,
            span.events,
            [Link(link) for link in span.links],
            span.kind,
            status=span.status,
            start_time=span.start_ns,
            end_time=end_ns,
            instrumentation_scope=_SCOPE,
        )
        self._processor.on_end(ended)


class Span:
    """One under way, a child of that of `call`. Times are in nanoseconds since the epoch; ids are hex."""

    __slots__ = (
        "attributes", "events", "kind", "links", "name", "parent_id", "span_id", "start_ns", "status", "trace_id",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        call: CallContext,
        kind: SpanKind,
        *,
        links: Sequence[SpanContext] = (),
        attributes: Mapping[str, AttributeValue] | None = None,
        events: Sequence[Event] = (),
        start_ns: int | None = None,
    ) -> None:
        self.name, self.kind, self.links = name, kind, links
        self.trace_id, self.parent_id, self.span_id = call.trace_id, call.span_id, calls.new_span_id()
        self.attributes: dict[str, AttributeValue] = dict(attributes or {})
        self.events = list(events)
        self.status = _UNSET
        self.start_ns = time.time_ns() if start_ns is None else start_ns

    def set_attribute(self, name: str, value: AttributeValue) -> None:
        """Say something of it; what was said under the name before is forgotten."""
        self.attributes[name] = value

    def add_event(self, name: str, attributes: Mapping[str, AttributeValue], at_ns: int | None = None) -> None:
        """Say that something has happened in it, now if not `at_ns`."""
        self.events.append(Event(name, attributes, at_ns))

    def mark(self, error: BaseException, at_ns: int | None = None) -> None:
        """Say what it has failed with: its status, and an event (now, if not `at_ns`) named as OpenTelemetry names it.

        The text of what is not a MeshError is for the log, and so is where it was raised.
        """
        reason = str(error.reason) if isinstance(error, MeshError) else type(error).__name__
        message = cut(error.message, MAX_MESSAGE_BYTES) if isinstance(error, MeshError) else ""
        self.set_attribute("error.type", reason)
        self.status = Status(StatusCode.ERROR, message or None)
        self.add_event("exception", {"exception.type": reason, "exception.message": message}, at_ns)


def span_context(trace_id: str, span_id: str, *, remote: bool = True) -> SpanContext:
    """Return the identity of a span, elsewhere unless it is not `remote`, given in hex."""
    return SpanContext(int(trace_id, 16), int(span_id, 16), remote, TraceFlags(TraceFlags.SAMPLED))


@contextmanager
def span(
    name: str,
    call: CallContext,
    kind: SpanKind,
    *,
    links: Sequence[SpanContext] = (),
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Iterator[Span]:
    """Open a span under `call`, and make it the parent of what the current task and its children call until it ends.

    The call must be sampled and have a tracer. It stays as it is, so that calls made side by side get spans side by side.
    """
    assert call.tracer is not None
    opened = Span(name, call, kind, links=links, attributes=attributes)
    token = calls.use(call.within(opened))
    try:
        yield opened
    except BaseException as error:
        opened.mark(error)
        raise
    finally:
        calls.reset(token)
        call.tracer.take(opened, time.time_ns())


def note(call: CallContext | None, name: str, attributes: Mapping[str, AttributeValue]) -> None:
    """Leave an event in the span that the call runs in, if it is traced."""
    if call is not None and call.span is not None:
        call.span.add_event(name, attributes)


def record_span(
    name: str,
    call: CallContext,
    kind: SpanKind = SpanKind.SERVER,
    *,
    start_ns: int,
    end_ns: int,
    attributes: Mapping[str, AttributeValue],
    events: Sequence[Event] = (),
    error: MeshError | None = None,
) -> None:
    """Record a span after the fact (times in nanoseconds since the epoch), whether or not the call was sampled.

    With an `error` it is marked as failed.
    """
    if call.tracer is None:
        return
    late = Span(name, call, kind, attributes=attributes, events=events, start_ns=start_ns)
    if error is not None:
        late.mark(error, end_ns)
    call.tracer.take(late, end_ns)
