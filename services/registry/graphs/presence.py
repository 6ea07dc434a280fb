"""The rules of nodes that some rows go without: later stages of a cascade, and what is optional.

Nothing that needs them in a row may find them missing there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.registry.definitions import Graph, Node
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.graphs.edges import Edge, Use

_SELECTING = frozenset({Use.MEMBER, Use.STAGE, Use.CONFIDENCE})


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


def check_absence(graph: Graph, edges: Sequence[Edge], order: Sequence[str], faults: Faults) -> None:
    """Models and outputs of the graph take from nothing that may be absent."""
    nodes = {node.name: node for node in graph.nodes}
    absent: dict[str, str] = {}
    for name in order:
        taken = [edge.source.node for edge in edges if edge.taker == name and edge.use is not Use.CONFIDENCE]
        why = _why_absent(nodes[name], taken, absent)
        if why:
            absent[name] = why
    for edge in edges:
        if edge.use not in _SELECTING and edge.source.node in absent:
            why = f"{edge.source.node} may be absent, as {absent[edge.source.node]}"
            faults.add(InvalidDefinition, edge.at, f"{edge}: {why}: give it defaults, or do not make it optional")


def _why_absent(node: Node, taken: Sequence[str], absent: Mapping[str, str]) -> str:
    """Why nothing may come of the node; empty if something always does, or the prediction fails."""
    if node.model:
        return f"{node.name} is optional without defaults" if node.model.optional and not node.model.defaults else ""
    return " and ".join(dict.fromkeys(absent[name] for name in taken)) if set(taken) <= absent.keys() else ""
