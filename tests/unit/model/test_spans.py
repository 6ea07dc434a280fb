from __future__ import annotations

import asyncio

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.mesh import context as contexts
from services.mesh.context import CallContext, new_span_id, new_trace_id
from services.mesh.telemetry.tracing import Tracing
from services.model.batcher import Batcher
from tests.support.gated_model import GatedModel
from tests.support.stations import batcher, call, station
from tests.support.waiting import eventually


async def _ask(queue: Batcher, context: CallContext) -> None:
    contexts.use(context)
    await queue.infer(call(1))


async def test_a_batch_has_one_span_that_links_the_sampled_calls_in_it() -> None:
    """It belongs to the trace of the first of them; calls that are not sampled leave nothing."""
    exporter = InMemorySpanExporter()
    tracing = Tracing("model", exporter=exporter, sample_ratio=0)
    made = [
        CallContext("r", new_trace_id(), new_span_id(), sampled=sampled, tracer=tracing.tracer)
        for sampled in (False, False, True, True)
    ]
    model = GatedModel()
    queue = batcher(station(model))
    model.gate.clear()
    calls = [asyncio.create_task(_ask(queue, context)) for context in made]
    await eventually(lambda: queue.queued_rows == 3)
    model.gate.set()
    await asyncio.gather(*calls)
    tracing.close()
    [span] = exporter.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert span.attributes is not None
    first = made[2]
    assert ("batch", first.trace_id, first.span_id) == (
        span.name,
        f"{span.context.trace_id:032x}",
        f"{span.parent.span_id:016x}",
    )
    linked = {(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in span.links}
    assert {(context.trace_id, context.span_id) for context in made[2:]} == linked
    assert (3, "onnx") == (span.attributes["rows"], span.attributes["runtime"])
