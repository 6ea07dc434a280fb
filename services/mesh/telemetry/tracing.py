"""Spans, made only for sampled calls, exported over OTLP/gRPC off the path of the calls."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)
from opentelemetry.util.types import AttributeValue

from services.mesh import context as calls
from services.mesh.context import CallContext, current
from services.mesh.errors import MeshError

# Long enough to batch, short enough that a person who asked for a trace is not kept waiting.
EXPORT_DELAY_MS = 250
CLOSE_LIMIT_S = 1.0
# Calls that are sampled, or not, together: about a batch under load.
SAMPLED_RUN = 16


class _TraceIdOfCall(RandomIdGenerator):
    """A root span takes the trace id that the call has already told its caller."""

    def generate_trace_id(self) -> int:
        call = current()
        return int(call.trace_id, 16) if call is not None else super().generate_trace_id()


class Tracing:
    """The tracer of one service, and the head sampling of calls that bring no decision of their own."""

    def __init__(self, service: str, *, exporter: SpanExporter | None, sample_ratio: float) -> None:
        self._ratio = sample_ratio
        self._run_left = 0
        self._run_sampled = False
        self._exporter = exporter
        self._provider: TracerProvider | None = None
        self.tracer: Tracer | None = None
        if exporter is not None:
            self._provider = TracerProvider(
                resource=Resource.create({"service.name": f"predictmesh-{service}"}),
                id_generator=_TraceIdOfCall(),
                sampler=ALWAYS_ON,  # the decision is the call's; OTEL_TRACES_SAMPLER would come between
                shutdown_on_exit=False,
            )
            self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_DELAY_MS))
            self.tracer = self._provider.get_tracer("predictmesh")

    def decide(self, call: CallContext) -> bool:
        """Sample the call if its caller did, or by chance if it is the first of its trace; return whether."""
        call.tracer = self.tracer
        if not call.span_id and self.tracer is not None:
            call.sampled = self._by_chance()
        return call.sampled and self.tracer is not None

    def _by_chance(self) -> bool:
        # Neighbours travel in one batch, whose hops are traced if any of them is: a sample of runs of neighbours holds as
        # many calls as a sample of single ones, and costs spans in a fraction of the batches.
        if self._run_left == 0:
            self._run_left = SAMPLED_RUN
            self._run_sampled = random.random() < self._ratio  # noqa: S311 - sampling, not a secret
        self._run_left -= 1
        return self._run_sampled

    def close(self) -> None:
        """Export what is left, for at most `CLOSE_LIMIT_S`: without a collector the exporter would try for longer."""
        if self._provider is None or self._exporter is None:
            return
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_LIMIT_S)
        if closing.is_alive():
            self._exporter.shutdown()


def open_tracing(service: str, *, endpoint: str, sample_ratio: float) -> Tracing:
    """Return the tracing of `service`; no spans are made without an OTLP `endpoint` (http://HOST:PORT)."""
    exporter: SpanExporter | None = None
    if endpoint:
        # Imported only where it is used: it costs a process several megabytes.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https"))
    return Tracing(service, exporter=exporter, sample_ratio=sample_ratio)


def span_context(trace_id: str, span_id: str) -> SpanContext:
    """Return the identity of a span elsewhere, given in hex."""
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


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
    # Current before the span starts, since a root span asks the current call for its trace id.
    inner = replace(call)
    token = calls.use(inner)
    opened = call.tracer.start_span(
        name,
        context=_parent(call),
        kind=kind,
        links=[Link(link) for link in links],
        attributes=attributes,
    )
    inner.span, inner.span_id = opened, f"{opened.get_span_context().span_id:016x}"
    try:
        yield opened
    except BaseException as error:
        mark(opened, error)
        raise
    finally:
        calls.reset(token)
        opened.end()


def mark(opened: Span, error: BaseException, at_ns: int | None = None) -> None:
    """Say what a span has failed with: its status, and an event (now, if not `at_ns`) named as OpenTelemetry names it.

    The text of what is not a MeshError is for the log, and so is where it was raised.
    """
    reason = str(error.reason) if isinstance(error, MeshError) else type(error).__name__
    message = error.message if isinstance(error, MeshError) else ""
    opened.set_attribute("error.type", reason)
    opened.set_status(Status(StatusCode.ERROR, message or None))
    opened.add_event("exception", {"exception.type": reason, "exception.message": message}, at_ns)


def note(call: CallContext | None, name: str, attributes: Mapping[str, AttributeValue]) -> None:
    """Leave an event in the span that the call runs in, if it is traced."""
    if call is not None and call.span is not None:
        call.span.add_event(name, attributes)


class Event(NamedTuple):
    """Something that happened during a span, at `at_ns` nanoseconds since the epoch."""

    name: str
    at_ns: int
    attributes: Mapping[str, AttributeValue]


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
    token = calls.use(call)
    try:
        late = call.tracer.start_span(
            name, context=_parent(call), kind=kind, start_time=start_ns, attributes=attributes
        )
        for event in events:
            late.add_event(event.name, event.attributes, event.at_ns)
        if error is not None:
            mark(late, error, end_ns)
        late.end(end_ns)
    finally:
        calls.reset(token)


def _parent(call: CallContext) -> Context | None:
    if not call.span_id:
        return trace.set_span_in_context(trace.INVALID_SPAN)
    return trace.set_span_in_context(NonRecordingSpan(span_context(call.trace_id, call.span_id)))
