"""The rules of a cascade's stages: what only some rows are asked for feeds nothing that all of them need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.registry.definitions import Graph
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.graphs.edges import Edge, Use


def check_stages(graph: Graph, edges: Sequence[Edge], order: Sequence[str], faults: Faults) -> None:
    """What is asked only about the rows that earlier stages are not sure of feeds nothing that is asked about more."""
    cascade = next((node for node in graph.nodes if node.cascade), None)
    if cascade is None:
        return
    after = _after(cascade.name, edges)
    asked_from = _asked_from(edges, order, after)
    stages = [edge for edge in edges if edge.use is Use.STAGE]
    for stage in stages:
        name = stage.source.node
        for edge in (edge for edge in edges if edge.source.node == name and name not in after):
            if _stage_of(edge, asked_from, after) < stage.stage:
                why = f"{name} is stage {stage.stage + 1} of {cascade.name}, and asked only about rows that the stages"
                remedy = f"take from {cascade.name}" if edge.taker in {"", *after} else "put it before"
                faults.add(InvalidDefinition, edge.at, f"{edge}: {why} before it are not sure of: {remedy}")


def _after(cascade: str, edges: Sequence[Edge]) -> set[str]:
    """The cascade and the nodes that are computed from it."""
    found = {cascade}
    while more := {edge.taker for edge in edges if edge.taker and edge.source.node in found} - found:
        found |= more
    return found


def _asked_from(edges: Sequence[Edge], order: Sequence[str], after: set[str]) -> dict[str, int]:
    """The first stage, from 0, that needs each node before the cascade; 0 as well where all rows need it."""
    found: dict[str, int] = {}
    for name in reversed(order):
        taking = [edge for edge in edges if edge.source.node == name]
        found[name] = min((_stage_of(edge, found, after) for edge in taking), default=0)
    return found


def _stage_of(edge: Edge, asked_from: Mapping[str, int], after: set[str]) -> int:
    if edge.use in {Use.STAGE, Use.CONFIDENCE}:
        return edge.stage
    return 0 if edge.taker in {"", *after} else asked_from[edge.taker]
