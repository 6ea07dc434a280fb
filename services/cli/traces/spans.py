"""One step of a request, as the receiver keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class Event:
    """Something that happened during a span, at `at_ns` nanoseconds since the epoch."""

    name: str
    at_ns: int
    attributes: dict[str, str]


@dataclass(frozen=True)
class Span:
    """A span. Ids are lower-case hex, times nanoseconds since the epoch; `error` is empty unless it failed.

    `links` are (trace id, span id) of the requests that a batch carries.
    """

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    error: str
    attributes: dict[str, str]
    links: tuple[tuple[str, str], ...]
    events: tuple[Event, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return the span as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Span:
        """Return the span that `plain` was made of."""
        links = tuple((trace, span) for trace, span in plain["links"])
        events = tuple(Event(**event) for event in plain["events"])
        return cls(**(plain | {"links": links, "events": events}))


def read_export(request: ExportTraceServiceRequest) -> Iterator[Span]:
    """Yield the spans of an OTLP export."""
    for resource in request.resource_spans:
        names = _texts(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _read(span, names.get("service.name", "?"))


def _read(span: trace_pb2.Span, service: str) -> Span:
    failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        service=service,
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        error=(span.status.message or "error") if failed else "",
        attributes=_texts(span.attributes),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        events=tuple(Event(event.name, event.time_unix_nano, _texts(event.attributes)) for event in span.events),
    )


def _texts(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return {attribute.key: _text(attribute.value) for attribute in attributes}


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return ", ".join(_text(item) for item in value.array_value.values)
    return str(getattr(value, kind)) if kind else ""
