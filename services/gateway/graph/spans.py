"""The path through a graph as a trace shows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind

from services.gateway.graph.nodes import ModelNode
from services.mesh import context as calls
from services.mesh.telemetry.spans import Span, record_span, span

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from services.gateway.graph.nodes import Graph
    from services.mesh.errors import MeshError


@contextmanager
def node_span(node: ModelNode, rows: int) -> Iterator[Span | None]:
    """Leave a span of a node's call, if the batch is traced; else None is given."""
    running = calls.current()
    if running is None or not running.sampled or running.tracer is None:
        yield None
        return
    attributes: dict[str, AttributeValue] = {"model": node.target.model, "version": node.target.version, "rows": rows}
    with span(f"node {node.name}", running, SpanKind.INTERNAL, attributes=attributes) as opened:
        yield opened


def mark_failed(opened: Span | None, rows: int, error: MeshError | None) -> None:
    """Say in how many rows a node has failed, if in any, and with what error if its call did."""
    if opened is None:
        return
    if rows:
        opened.set_attribute("failed_rows", rows)
    if error is not None:
        opened.mark(error)


def note_skipped(graph: Graph, number: int, rows: int) -> None:
    """Leave an empty span of each node that rows need not be asked at, as a stage was sure, if the batch is traced."""
    running = calls.current()
    if running is None or not running.sampled:
        return
    now, names = time.time_ns(), graph.stage_names
    for node in graph.nodes:
        if isinstance(node, ModelNode) and number < node.segment < len(names):
            attributes: dict[str, AttributeValue] = {"state": "skipped", "cause": names[number], "rows": rows}
            name = f"node {node.name}"
            record_span(name, running, SpanKind.INTERNAL, start_ns=now, end_ns=now, attributes=attributes)
