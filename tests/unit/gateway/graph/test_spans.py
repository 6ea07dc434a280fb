"""What a trace shows of the path through a composed version."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from services.mesh.context import CallContext, new_span_id, new_trace_id
from services.mesh.telemetry.tracing import Tracing
from tests.unit.gateway.graph.compositions import (
    BROKEN,
    CASCADE,
    FIRST,
    OPTIONAL,
    SECOND,
    ScriptedModel,
    ask,
    lane_of,
)

Spans = list[ReadableSpan]


class Traced:
    """Calls that are traced, and what was recorded of them."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._tracing = Tracing("gateway", exporter=self._exporter, sample_ratio=0)

    def call(self) -> CallContext:
        """A call that is sampled."""
        return CallContext("r", new_trace_id(), new_span_id(), sampled=True, tracer=self._tracing.tracer)

    def spans(self) -> Spans:
        """What was recorded, in order of the start."""
        self.close()
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def close(self) -> None:
        """Record no more."""
        self._tracing.close()


@pytest.fixture
def traced() -> Iterator[Traced]:
    """Nothing yet."""
    made = Traced()
    yield made
    made.close()


async def test_each_segment_s_batch_tells_of_its_own_rows(traced: Traced) -> None:
    """A row that goes on is in two batches, each beside those who travel along, under the first of their calls."""
    calls = [traced.call(), traced.call()]
    lane = lane_of(FIRST + SECOND + CASCADE, ScriptedModel())
    await asyncio.gather(ask(lane, 60, 95, running=calls[0]), ask(lane, 50, 94, 93, running=calls[1]))
    batches = [span for span in traced.spans() if span.name == "batch"]
    assert [5, 2] == [(span.attributes or {})["rows"] for span in batches]
    for span in batches:
        assert span.parent is not None
        assert calls[0].span_id == f"{span.parent.span_id:016x}"
        assert [each.span_id for each in calls] == [f"{link.context.span_id:016x}" for link in span.links]


async def test_nodes_are_under_the_batch_that_asked_them(traced: Traced) -> None:
    """Those that rows were spared say why."""
    lane = lane_of(FIRST + SECOND + CASCADE, ScriptedModel())
    await ask(lane, 60, 95, running=traced.call())
    spans = traced.spans()
    batches = [span for span in spans if span.name == "batch"]
    nodes = [span for span in spans if span.name != "batch"]
    found = [(span.name, _parent(span, batches), dict(span.attributes or {})) for span in nodes]
    assert ("node first", 0, {"model": "m", "version": "1.0.0", "rows": 2}) in found
    assert ("node second", 0, {"state": "skipped", "cause": "first", "rows": 1}) in found
    assert ("node second", 1, {"model": "m", "version": "1.1.0", "rows": 1}) in found
    assert {SpanKind.INTERNAL} == {span.kind for span in nodes}


async def test_failures_of_a_node_are_on_its_span(traced: Traced) -> None:
    """Rows of a call by their number, a whole call by its error; also where the prediction goes on without it."""
    model = ScriptedModel()
    model.spoilt, model.failing = {"1.0.0": {95.0: BROKEN}}, {"1.1.0"}
    await ask(lane_of(FIRST + OPTIONAL + CASCADE, model), 60, 95, 50, running=traced.call())
    told = {span.name: (span.attributes or {}, span.status.is_ok) for span in traced.spans()}
    assert 1 == told["node first"][0]["failed_rows"]
    assert "error.type" not in told["node first"][0]
    assert (2, "VERSION_NOT_LOADED") == tuple(told["node second"][0][key] for key in ("failed_rows", "error.type"))
    assert not told["node second"][1]


def _parent(span: ReadableSpan, batches: Spans) -> int:
    return next(
        place
        for place, batch in enumerate(batches)
        if batch.context and span.parent and batch.context.span_id == span.parent.span_id
    )
