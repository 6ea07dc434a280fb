"""Spans for tests, times in milliseconds from the start of their trace."""

from __future__ import annotations

from services.cli.traces.spans import Event, Span

MS = 1_000_000


def span(
    span_id: str,
    parent_id: str = "",
    *,
    at: tuple[int, int] = (0, 10),
    trace_id: str = "t1",
    service: str = "predictmesh-gateway",
    name: str = "",
    kind: str = "internal",
    error: str = "",
    links: tuple[tuple[str, str], ...] = (),
    attributes: dict[str, str] | None = None,
    events: tuple[Event, ...] = (),
) -> Span:
    """Return a span that runs from and to `at`, named by its id."""
    start, end = (1_000 * MS + moment * MS for moment in at)
    name = name or span_id
    return Span(trace_id, span_id, parent_id, service, name, kind, start, end, error, attributes or {}, links, events)
