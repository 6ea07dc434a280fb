"""The rules of nodes that may be absent: optional ones without defaults, and what is made of nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.registry.definitions import Graph, Node
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.graphs.edges import Edge, Use

_SELECTING = frozenset({Use.MEMBER, Use.STAGE, Use.CONFIDENCE})


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
