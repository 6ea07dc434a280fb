"""The edges of a graph: which port each node and each output of the graph takes from, where that is said, and what it is."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.registry.definitions import Cascade, Ensemble, Graph, ModelNode, Node, Port, TensorSpec

Outputs = Mapping[str, tuple[TensorSpec, ...]]
"""The outputs of nodes by the nodes' names, without the nodes of which they are not known."""


class Use(enum.Enum):
    """What a port is taken for."""

    INPUT = enum.auto()
    MEMBER = enum.auto()
    STAGE = enum.auto()
    CONFIDENCE = enum.auto()
    OUTPUT = enum.auto()


@dataclass(frozen=True, slots=True)
class Edge:
    """`source` is taken for a `use` by the node `taker`; by none where it is an output of the graph.

    `into` says so in a fault, `at` is the path of the port. `stage` is that of a cascade, from 0.
    """

    source: Port
    use: Use
    taker: str
    into: str
    at: str
    stage: int = 0

    def __str__(self) -> str:
        return f"{self.source} -> {self.into}"


def edges_of(graph: Graph, path: str) -> list[Edge]:
    """Every edge of the graph that stands at `path`; the port of a cascade's stage is the node itself."""
    edges = [edge for index, node in enumerate(graph.nodes) for edge in _into_node(node, f"{path}.nodes[{index}]")]
    return edges + [
        Edge(output.source, Use.OUTPUT, "", f"output {output.name}", f"{path}.outputs[{index}].source")
        for index, output in enumerate(graph.outputs)
    ]


def find_output(outputs: Outputs, port: Port) -> TensorSpec | None:
    """The output that the port names; the only one, if it names none."""
    found = [spec for spec in outputs.get(port.node, ()) if port.output in {spec.name, ""}]
    return found[0] if len(found) == 1 else None


def input_path(path: str, index: int) -> str:
    """The path of a fed input of the model node at `path`."""
    return f"{path}.model.inputs[{index}]"


def stage_path(path: str, index: int) -> str:
    """The path of a stage of the cascade at `path`."""
    return f"{path}.cascade.stages[{index}]"


def _into_node(node: Node, path: str) -> Iterator[Edge]:
    if node.model:
        yield from _into_model(node.name, node.model, path)
    if node.ensemble:
        yield from _into_ensemble(node.name, node.ensemble, path)
    if node.cascade:
        yield from _into_cascade(node.name, node.cascade, path)


def _into_model(name: str, node: ModelNode, path: str) -> Iterator[Edge]:
    for index, fed in enumerate(node.inputs):
        for place, source in enumerate(fed.sources):
            at = f"{input_path(path, index)}.sources[{place}]"
            yield Edge(source, Use.INPUT, name, f"{name}.{fed.input}", at)


def _into_ensemble(name: str, ensemble: Ensemble, path: str) -> Iterator[Edge]:
    for index, member in enumerate(ensemble.members):
        yield Edge(member.source, Use.MEMBER, name, name, f"{path}.ensemble.members[{index}].source")


def _into_cascade(name: str, cascade: Cascade, path: str) -> Iterator[Edge]:
    for index, stage in enumerate(cascade.stages):
        at = stage_path(path, index)
        yield Edge(Port(stage.node), Use.STAGE, name, name, f"{at}.node", index)
        if index < len(cascade.stages) - 1:
            confidence = stage.confidence or Port(stage.node)
            yield Edge(confidence, Use.CONFIDENCE, name, f"{name} (confidence)", f"{at}.confidence", index)
