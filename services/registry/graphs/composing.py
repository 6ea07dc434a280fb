"""Makes a composed version of a graph: checks it, and gives it the signature and bindings that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

from services.registry.binding import Views
from services.registry.definitions import Graph, Signature, TensorSpec, Version
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.graphs.asking import check_asking, unfed
from services.registry.graphs.completing import completed
from services.registry.graphs.edges import Outputs, edges_of, find_output
from services.registry.graphs.members import Models, check_members
from services.registry.graphs.presence import check_absence, check_stages
from services.registry.graphs.structure import MAX_EDGES, MAX_NODES, check_structure
from services.registry.graphs.types import check_types
from services.registry.graphs.wiring import check_wiring

NOTHING = Signature((), ())


def compose(version: Version, models: Models, views: Views, path: str, faults: Faults) -> Version:
    """The version with what follows from its graph, which comes back in full; as it was given, where that is faulty.

    Its inputs are `node.input` for each input of a model node that no node feeds, bound as the node's version is.
    """
    graph, found = version.graph, Faults()
    assert graph is not None
    for name, is_given in {"signature": version.signature != NOTHING, "bindings": bool(version.bindings)}.items():
        if is_given:
            found.add(InvalidDefinition, f"{path}.{name}", "follows from the graph: leave it out")
    versions = check_members(graph, models, f"{path}.graph", found)
    outputs = _flowing(graph, versions, f"{path}.graph", found)
    if not found:
        parts = {node.name: unfed(node.name, node.model, versions[node.name]) for node in graph.nodes if node.model}
        check_asking(graph, parts, views, f"{path}.graph", found)
        version = version if found else _composed(version, graph, versions, parts, outputs)
    faults.extend(found)
    return version


def check_composed(version: Version, models: Models, views: Views, path: str, faults: Faults) -> None:
    """A composed version that comes from elsewhere: its graph is good, and all that follows from it is as it says."""
    broken = Faults()
    composed = compose(replace(version, signature=NOTHING, bindings=()), models, views, path, broken)
    faults.extend(broken)
    for name in ("signature", "bindings", "graph"):
        if not broken and getattr(composed, name) != getattr(version, name):
            faults.add(InvalidDefinition, f"{path}.{name}", "is not what follows from the graph")


def _flowing(graph: Graph, versions: Mapping[str, Version], path: str, faults: Faults) -> Outputs:
    """What the nodes give, where the graph is such that it can be told."""
    check_structure(graph, path, faults)
    if not len({node.name for node in graph.nodes}) == len(graph.nodes) <= MAX_NODES:
        # Nobody can say which of two nodes of one name an edge means.
        return {}
    edges = edges_of(graph, path)
    if len(edges) > MAX_EDGES:
        faults.add(InvalidDefinition, f"{path}.nodes", f"a graph has at most {MAX_EDGES} edges, not {len(edges)}")
        return {}
    order = check_wiring(graph, edges, path, faults)
    if not order:
        return {}
    check_stages(graph, edges, order, faults)
    check_absence(graph, edges, order, faults)
    return check_types(graph, versions, edges, order, path, faults)


def _composed(
    version: Version, graph: Graph, versions: Mapping[str, Version], parts: Mapping[str, Version], outputs: Outputs
) -> Version:
    inputs = chain.from_iterable(part.signature.inputs for part in parts.values())
    return replace(
        version,
        signature=Signature(tuple(inputs), _given(graph, outputs)),
        bindings=tuple(chain.from_iterable(part.bindings for part in parts.values())),
        graph=completed(graph, versions, outputs),
    )


def _given(graph: Graph, outputs: Outputs) -> tuple[TensorSpec, ...]:
    found = [(output.name, find_output(outputs, output.source)) for output in graph.outputs]
    return tuple(replace(spec, name=name) for name, spec in found if spec)
