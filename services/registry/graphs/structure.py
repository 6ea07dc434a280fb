"""The rules of a graph's form, which hold whatever versions its nodes are."""

from __future__ import annotations

import math

from services.registry.definitions import Cascade, ConfidenceMeasure, Ensemble, EnsembleMethod, Graph, ModelNode, Node
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.graphs.edges import input_path, stage_path
from services.registry.names import check_column, check_tensor_name, check_unique

MAX_NODES = 64
MAX_EDGES = 4096


def check_structure(graph: Graph, path: str, faults: Faults) -> None:
    """Names, numbers and kinds; weights; what a last stage may not have."""
    if not 1 <= len(graph.nodes) <= MAX_NODES:
        faults.add(InvalidDefinition, f"{path}.nodes", f"a graph has 1 to {MAX_NODES} nodes, not {len(graph.nodes)}")
    if not graph.outputs:
        faults.add(InvalidDefinition, f"{path}.outputs", "a graph has at least one output")
    check_unique([node.name for node in graph.nodes], f"{path}.nodes", "name", faults)
    for index, node in enumerate(graph.nodes):
        _check_node(node, f"{path}.nodes[{index}]", faults)
    check_unique([output.name for output in graph.outputs], f"{path}.outputs", "name", faults)
    for index, output in enumerate(graph.outputs):
        check_tensor_name(output.name, f"{path}.outputs[{index}].name", faults)
    _check_one_cascade(graph, path, faults)


def _check_one_cascade(graph: Graph, path: str, faults: Faults) -> None:
    cascades = [(index, node.name) for index, node in enumerate(graph.nodes) if node.cascade]
    for index, name in cascades[1:]:
        why = f"a graph has one cascade, and {cascades[0][1]} is: put the stages of {name} into it"
        faults.add(InvalidDefinition, f"{path}.nodes[{index}].cascade", why)


def _check_node(node: Node, path: str, faults: Faults) -> None:
    check_column(node.name, f"{path}.name", faults)
    if sum(kind is not None for kind in (node.model, node.ensemble, node.cascade)) != 1:
        faults.add(InvalidDefinition, path, f"node {node.name} is one of model, ensemble and cascade")
    if node.model:
        _check_model(node.name, node.model, path, faults)
    if node.ensemble:
        _check_ensemble(node.ensemble, f"{path}.ensemble", faults)
    if node.cascade:
        _check_cascade(node.cascade, path, faults)


def _check_model(name: str, node: ModelNode, path: str, faults: Faults) -> None:
    check_unique([fed.input for fed in node.inputs], f"{path}.model.inputs", "input", faults)
    for index, fed in enumerate(node.inputs):
        if not fed.sources:
            why = f"nothing feeds {name}.{fed.input}: name its sources, or leave it out to take what it is bound to"
            faults.add(InvalidDefinition, f"{input_path(path, index)}.sources", why)
    if node.defaults and not node.optional:
        why = f"never act, as {name} is not optional: make it optional, or leave them out"
        faults.add(InvalidDefinition, f"{path}.model.defaults", why)


def _check_ensemble(ensemble: Ensemble, path: str, faults: Faults) -> None:
    if ensemble.method is EnsembleMethod.UNSPECIFIED:
        faults.add(InvalidDefinition, f"{path}.method", "an ensemble is VOTE, MEAN, WEIGHTED_MEAN or MAX")
    if len(ensemble.members) < 2:
        faults.add(InvalidDefinition, f"{path}.members", "an ensemble has at least two members")
    weighted = ensemble.method is EnsembleMethod.WEIGHTED_MEAN
    for index, member in enumerate(ensemble.members):
        at = f"{path}.members[{index}].weight"
        if weighted and not 0 < member.weight < math.inf:
            why = (
                f"{member.weight:g} is no weight of {member.source}: in a weighted mean each is more than 0, and finite"
            )
            faults.add(InvalidDefinition, at, why)
        elif not weighted and member.weight != 0:
            why = f"never acts: only WEIGHTED_MEAN has weights, and this is {ensemble.method or 'no method'}"
            faults.add(InvalidDefinition, at, why)
    if weighted and math.isinf(sum(member.weight for member in ensemble.members)):
        faults.add(InvalidDefinition, f"{path}.members", "the weights are too large to be added: give smaller ones")


def _check_cascade(cascade: Cascade, path: str, faults: Faults) -> None:
    if len(cascade.stages) < 2:
        faults.add(InvalidDefinition, f"{path}.cascade.stages", "a cascade has at least two stages")
        return
    check_unique([stage.node for stage in cascade.stages], f"{path}.cascade.stages", "node", faults)
    for index, stage in enumerate(cascade.stages):
        if stage.measure is ConfidenceMeasure.UNKNOWN:
            why = "a measure is PROBABILITY or VALUE"
            faults.add(InvalidDefinition, f"{stage_path(path, index)}.measure", why)
    at, last = stage_path(path, len(cascade.stages) - 1), cascade.stages[-1]
    given = {
        "confidence": last.confidence is not None,
        "measure": last.measure is not ConfidenceMeasure.UNSPECIFIED,
        "threshold": last.threshold != 0,
    }
    for name in (name for name, is_given in given.items() if is_given):
        why = f"never acts: {last.node} is the last stage, whose answer always stands"
        faults.add(InvalidDefinition, f"{at}.{name}", why)
