"""The span of a batch: a child of the first sampled call in it, with links to all of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from opentelemetry.trace import SpanKind

from services.mesh.telemetry.spans import span, span_context
from services.model.batch import Batch

_NO_SPAN = nullcontext()


def batch_span(batch: Batch, runtime: str) -> AbstractContextManager[object]:
    """Open the span, if any call in the batch is sampled; what the runtime is asked meanwhile is its child."""
    sampled = [
        ticket.context
        for ticket, _ in batch.portions
        if ticket.context is not None and ticket.context.sampled and ticket.context.tracer is not None
    ]
    if not sampled:
        return _NO_SPAN
    parent = sampled[0]
    links = [span_context(context.trace_id, context.span_id) for context in sampled if context.span_id]
    return span("batch", parent, SpanKind.INTERNAL, links=links, attributes={"rows": batch.rows, "runtime": runtime})
