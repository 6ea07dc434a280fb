"""The rules of a cascade's stages: what only some rows are asked for feeds nothing that all of them need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.registry.definitions import Graph
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.graphs.edges import Edge, Use


def check_stages(graph: Graph, edges: Sequence[Edge], order: Sequence[str], faults: Faults) -> None:
    """What is asked only about the rows that earlier stages are not sure of feeds nothing that is asked about more."""
    cascades = [node for node in graph.nodes if node.cascade]
    if len(cascades) != 1:
        return
    (cascade,) = cascades
    after = _after(cascade.name, edges)
    needed = _needed(edges, order, after)
    # The earlier one counts where a node is two stages, which is a fault of its own.
    stages = {edge.source.node: edge.stage for edge in reversed(edges) if edge.use is Use.STAGE}
    for edge in edges:
        name = edge.source.node
        if _needed_by(edge, needed, after) < stages.get(name, 0):
            why = f"{name} is asked only about rows that the stages before it in {cascade.name} are not sure of"
            remedy = f"take from {cascade.name} instead, or make {name} an earlier stage"
            faults.add(InvalidDefinition, edge.at, f"{edge}: {why}: {remedy}")


def _after(cascade: str, edges: Sequence[Edge]) -> set[str]:
    """The cascade and the nodes that are computed from it."""
    found = {cascade}
    while more := {edge.taker for edge in edges if edge.taker and edge.source.node in found} - found:
        found |= more
    return found


def _needed(edges: Sequence[Edge], order: Sequence[str], after: set[str]) -> dict[str, int]:
    """The first stage, from 0, that needs each node; 0 as well where all rows need it."""
    found: dict[str, int] = {}
    for name in reversed(order):
        taking = [edge for edge in edges if edge.source.node == name]
        found[name] = min((_needed_by(edge, found, after) for edge in taking), default=0)
    return found


def _needed_by(edge: Edge, needed: Mapping[str, int], after: set[str]) -> int:
    if edge.use in {Use.STAGE, Use.CONFIDENCE}:
        return edge.stage
    return 0 if edge.taker in {"", *after} else needed[edge.taker]
