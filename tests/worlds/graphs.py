"""Composed versions in a few words. Models are named without their namespace, outputs as `node.output` or `node`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from predictmesh.registry.v1.graph_pb2 import (
    Cascade,
    CascadeStage,
    ConfidenceMeasure,
    Ensemble,
    EnsembleMember,
    EnsembleMethod,
    Graph,
    GraphOutput,
    ModelNode,
    Node,
    NodeInput,
    Port,
)
from tests.worlds.resources import tensors


def port(text: str) -> Port:
    """`node.output`, or `node` where it has one output."""
    node, _, output = text.partition(".")
    return Port(node=node, output=output)


def node(
    name: str,
    version: str,
    inputs: Mapping[str, str | Sequence[str]] | None = None,
    *,
    optional: bool = False,
    defaults: Mapping[str, Any] | None = None,
) -> Node:
    """A version, given as `model@version`; each of `inputs` is fed by one output, or by several."""
    model, _, number = version.partition("@")
    fed = [
        NodeInput(input=name, sources=map(port, [sources] if isinstance(sources, str) else sources))
        for name, sources in (inputs or {}).items()
    ]
    made = ModelNode(model=model, version=number, inputs=fed, optional=optional, defaults=tensors(defaults or {}))
    return Node(name=name, model=made)


def ensemble(name: str, method: str, members: Sequence[str] | Mapping[str, float]) -> Node:
    """Outputs as one; with their weights in a weighted mean."""
    weights = members.items() if isinstance(members, Mapping) else [(source, 0.0) for source in members]
    made = [EnsembleMember(source=port(source), weight=weight) for source, weight in weights]
    kind = EnsembleMethod.Value(f"ENSEMBLE_METHOD_{method}")
    return Node(name=name, ensemble=Ensemble(method=kind, members=made))


def cascade(
    name: str, *stages: tuple[str, float] | CascadeStage | str, measure: str = "PROBABILITY", **confidence: str
) -> Node:
    """Nodes with their thresholds, the last without; `confidence` has the outputs that tell it, where it is another's."""
    kind = ConfidenceMeasure.Value(f"CONFIDENCE_MEASURE_{measure}")
    made = []
    for stage in stages:
        if isinstance(stage, CascadeStage):
            made.append(stage)
        elif isinstance(stage, str):
            made.append(CascadeStage(node=stage))
        else:
            source, threshold = stage
            made.append(
                CascadeStage(
                    node=source, confidence=port(confidence.get(source, source)), measure=kind, threshold=threshold
                )
            )
    return Node(name=name, cascade=Cascade(stages=made))


def graph(*nodes: Node, **outputs: str) -> Graph:
    """Nodes, and where each output comes from."""
    return Graph(nodes=nodes, outputs=[GraphOutput(name=name, source=port(source)) for name, source in outputs.items()])


def in_namespace(given: Graph, namespace: str) -> Graph:
    """The same with the models of a namespace."""
    made = Graph()
    made.CopyFrom(given)
    for each in made.nodes:
        if each.HasField("model"):
            each.model.model = f"{namespace}/{each.model.model}"
    return made
