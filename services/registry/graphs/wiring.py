"""The rules of what leads where: edges begin at nodes of the graph, none leads back, and every node is of use."""

from __future__ import annotations

import graphlib
from collections.abc import Sequence

from services.registry.definitions import Graph
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.graphs.edges import Edge
from services.registry.names import shown


def check_wiring(graph: Graph, edges: Sequence[Edge], path: str, faults: Faults) -> tuple[str, ...]:
    """Names of the nodes, each behind those that it takes from; none where an edge leads from nowhere, or back."""
    names = [node.name for node in graph.nodes]
    unknown = [edge for edge in edges if edge.source.node not in names]
    for edge in unknown:
        others = ", ".join(name for name in names if name != edge.taker)
        why = f"{edge}: there is no node {shown(edge.source.node)}" + (f", but {others}" if others else "")
        faults.add(InvalidDefinition, edge.at, why)
    if unknown:
        return ()
    _check_of_use(names, edges, path, faults)
    taken = {name: [edge.source.node for edge in edges if edge.taker == name] for name in names}
    try:
        return tuple(graphlib.TopologicalSorter(taken).static_order())
    except graphlib.CycleError as error:
        _add_cycle(error.args[1], edges, faults)
        return ()


def _add_cycle(cycle: Sequence[str], edges: Sequence[Edge], faults: Faults) -> None:
    """`cycle` has each node behind one that it takes from, the first once more at the end."""
    closing = next(edge for edge in edges if (edge.source.node, edge.taker) == (cycle[-2], cycle[-1]))
    why = f"{closing}: closes the cycle {' -> '.join(cycle)}, so that none of them could begin: leave one edge out"
    faults.add(InvalidDefinition, closing.at, why)


def _check_of_use(names: Sequence[str], edges: Sequence[Edge], path: str, faults: Faults) -> None:
    used = {""}
    while more := {edge.source.node for edge in edges if edge.taker in used} - used:
        used |= more
    for index, name in enumerate(names):
        if name not in used:
            why = f"{name} is of no use, as no output of the graph is computed from it: take from it, or leave it out"
            faults.add(InvalidDefinition, f"{path}.nodes[{index}]", why)
