"""The versions that the nodes of a graph are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.registry.definitions import Graph, Model, ModelNode, Version
from services.registry.errors import InvalidDefinition, NamesUnknownModel, NamesUnknownVersion
from services.registry.faults import Faults
from services.registry.names import shown

Models = Mapping[str, Model]


def model_nodes(version: Version) -> Iterator[tuple[str, ModelNode]]:
    """The model nodes of a composed version by name; none of one that is made of artifacts."""
    return ((node.name, node.model) for node in (version.graph.nodes if version.graph else ()) if node.model)


def node_versions(version: Version, models: Models) -> Iterator[tuple[str, Model, Version]]:
    """The versions that a composed version's nodes are, with their models, by the nodes' names; those that are there."""
    for name, node in model_nodes(version):
        model = models.get(node.model)
        found = model.find(node.version) if model else None
        if model and found:
            yield name, model, found


def nodes_with(version: Version, model: str, number: str = "") -> list[str]:
    """Names of the nodes that are of the model, or that version of it."""
    return [name for name, node in model_nodes(version) if node.model == model and number in {"", node.version}]


def check_members(graph: Graph, models: Models, path: str, faults: Faults) -> dict[str, Version]:
    """The version of each model node by the node's name, where there is one that may be a node."""
    found: dict[str, Version] = {}
    for index, node in enumerate(graph.nodes):
        version = _member(node.model, models, f"{path}.nodes[{index}].model", faults) if node.model else None
        if version:
            found[node.name] = version
    return found


def _member(node: ModelNode, models: Models, path: str, faults: Faults) -> Version | None:
    model = models.get(node.model)
    if model is None:
        faults.add(NamesUnknownModel, f"{path}.model", f"there is no model {shown(node.model)}")
        return None
    version = model.find(node.version)
    if version is None:
        known = ", ".join(each.version for each in model.versions if each.graph is None) or "none that could be a node"
        why = f"model {node.model} has no version {shown(node.version)}, but {known}: name one by its number"
        faults.add(NamesUnknownVersion, f"{path}.version", why)
        return None
    if version.graph:
        why = f"{node.model}@{node.version} is composed itself: name the versions that it is made of"
        faults.add(InvalidDefinition, f"{path}.version", why)
        return None
    return version
