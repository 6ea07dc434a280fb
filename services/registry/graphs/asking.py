"""What nodes take from the prediction's request and from feature views, which they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from services.registry.binding import Views, keys_of, requests_of
from services.registry.definitions import Graph, ModelNode, Signature, Version
from services.registry.errors import InvalidBinding, InvalidName
from services.registry.faults import Faults
from services.registry.names import check_tensor_name, shown


def unfed(name: str, node: ModelNode, version: Version) -> Version:
    """The node's version with no more inputs than those that no node feeds, each named `node.input`."""
    fed = {each.input for each in node.inputs}
    inputs = tuple(
        replace(spec, name=f"{name}.{spec.name}") for spec in version.signature.inputs if spec.name not in fed
    )
    bindings = tuple(
        replace(binding, input=f"{name}.{binding.input}") for binding in version.bindings if binding.input not in fed
    )
    return replace(version, signature=Signature(inputs, version.signature.outputs), bindings=bindings)


def check_asking(graph: Graph, parts: Mapping[str, Version], views: Views, path: str, faults: Faults) -> None:
    """Key columns and request-time features of one name are one; `parts` are the unfed versions by their nodes."""
    places = {node.name: f"{path}.nodes[{index}]" for index, node in enumerate(graph.nodes)}
    for name, part in parts.items():
        _check_names(part, f"{places[name]}.name", faults)
    _check_same("request-time feature", requests_of, parts, places, faults)
    _check_same("key column", partial(keys_of, views=views), parts, places, faults)


def _check_names(part: Version, path: str, faults: Faults) -> None:
    """Those of the inputs are good with that of the node before them."""
    for spec in part.signature.inputs:
        broken = Faults()
        check_tensor_name(spec.name, path, broken)
        for why in broken.descriptions:
            faults.add(
                InvalidName, path, f"{shown(spec.name)} is an input then, and {why}: give the node a shorter one"
            )


def _check_same(
    what: str,
    taken_by: Callable[[Version], Mapping[str, object]],
    parts: Mapping[str, Version],
    places: Mapping[str, str],
    faults: Faults,
) -> None:
    first: dict[str, tuple[str, object]] = {}
    for node, part in parts.items():
        for name, kind in sorted(taken_by(part).items()):
            other, wanted = first.setdefault(name, (node, kind))
            if kind != wanted:
                why = f"{what} {name} is {kind} for {node} and {wanted} for {other}, and a request has it once: name versions that take it alike"
                faults.add(InvalidBinding, f"{places[node]}.model", why)
