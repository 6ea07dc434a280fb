"""Where in a Version's document a part of its graph was written, as messages of the registry name parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from predictmesh.registry.v1.graph_pb2 import Ensemble, EnsembleMethod, Graph, ModelNode, Node
from services.cli.resources.graphs import port_text

# A name, and the index of an item of its list.
_STEP = re.compile(r"\.(\w+)(?:\[(\d+)\])?")
Steps = Sequence[tuple[str, int | None]]


def in_graph(graph: Graph, path: str) -> str:
    """Return the path in the document of what stands at `path`, e.g. `.nodes[0].name`, of the graph read from it."""
    steps = [(name, int(index) if index else None) for name, index in _STEP.findall(path)]
    match steps:
        case [("nodes", int(index)), *rest] if index < len(graph.nodes):
            return f"graph.nodes.{graph.nodes[index].name}{_in_node(graph.nodes[index], rest)}"
        case [("outputs", int(index)), *_] if index < len(graph.outputs):
            return f"graph.outputs.{graph.outputs[index].name}"
        case _:
            return f"graph{path}"


def _in_node(node: Node, steps: Steps) -> str:
    match steps:
        case [("model", _), *rest]:
            return _in_model(node.model, rest)
        case [("ensemble", _), *rest]:
            return _in_ensemble(node.ensemble, rest)
        case [("cascade", _), ("stages", int(index)), (part, _), *_]:
            return f".cascade[{index}].{part}"
        case [("cascade", _), ("stages", int(index))]:
            return f".cascade[{index}]"
        case [("cascade", _), *_]:
            return ".cascade"
        case _:
            return ""


def _in_model(model: ModelNode, steps: Steps) -> str:
    match steps:
        case [("inputs", int(index)), *rest] if index < len(model.inputs):
            return f".inputs.{model.inputs[index].input}{_item(model.inputs[index].sources, rest)}"
        case [("defaults", int(index)), *_] if index < len(model.defaults):
            return f".defaults.{model.defaults[index].name}"
        case [("inputs" | "defaults" | "optional" as part, _), *_]:
            return f".{part}"
        case _:
            return ".model"


def _item(sources: Sequence[Any], steps: Steps) -> str:
    """One port stands without a list."""
    match steps:
        case [("sources", int(index)), *_] if len(sources) > 1:
            return f"[{index}]"
        case _:
            return ""


def _in_ensemble(ensemble: Ensemble, steps: Steps) -> str:
    match steps:
        case [("members", int(index)), *_] if index < len(ensemble.members):
            weighted = ensemble.method == EnsembleMethod.ENSEMBLE_METHOD_WEIGHTED_MEAN
            return f".of.{port_text(ensemble.members[index].source)}" if weighted else f".of[{index}]"
        case [("members", _), *_]:
            return ".of"
        case _:
            return ".ensemble"
