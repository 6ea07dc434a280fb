"""Diagrams of the registry's versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from predictmesh.registry.v1.graph_pb2 import (
    Cascade,
    CascadeStage,
    ConfidenceMeasure,
    Ensemble,
    EnsembleMethod,
    Graph,
    ModelNode,
    Node,
)
from predictmesh.registry.v1.graph_pb2 import Port as PortMessage
from predictmesh.registry.v1.model_pb2 import InputBinding, Model, Source, TensorSpec, Version
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli.errors import Mistake
from services.cli.graphs.diagram import Block, Diagram, Edge, Kind, Output, Port
from services.cli.labels import words
from services.cli.values import type_name, values_of

Models = Mapping[str, Model]


def read_diagram(model: str, version: Version, models: Models) -> Diagram:
    """Return the diagram of a version of `model`; `models` has those of its nodes. Mistake if one is not there."""
    if version.HasField("graph"):
        return _Reader(version.graph, models).read()
    block = _model_block(model, version.version, version, {})
    edges = [Edge(Port(model, given.name), "answer", given.name, given.type) for given in block.gives]
    return Diagram((block, Block(Kind.ANSWER, "answer", "", tuple(edges))))


class _Reader:
    """Reads one graph; blocks that are read already tell the types of what the next ones take."""

    def __init__(self, graph: Graph, models: Models) -> None:
        self._graph, self._models = graph, models
        self._nodes = {node.name: node for node in graph.nodes}
        self._blocks: dict[str, Block] = {}

    def read(self) -> Diagram:
        """Return the diagram."""
        for node in self._graph.nodes:
            self._read(node)
        edges = []
        for output in self._graph.outputs:
            port, given = self._resolve(output.source)
            edges.append(_edge(port, "answer", given, "" if output.name == port.output else f"as {output.name}"))
        return Diagram((*self._blocks.values(), Block(Kind.ANSWER, "answer", "", tuple(edges))))

    def _read(self, node: Node) -> None:
        """Read a node behind those that it takes from: a registered graph has no cycle."""
        if node.name in self._blocks:
            return
        for name in _taken(node):
            self._read(self._nodes[name])
        kind = {"model": self._model, "ensemble": self._ensemble, "cascade": self._cascade}
        self._blocks[node.name] = kind[node.WhichOneof("kind") or "model"](node)

    def _resolve(self, port: PortMessage) -> tuple[Port, Output]:
        outputs = self._blocks[port.node].gives
        given = next(output for output in outputs if port.output in {"", output.name})
        return Port(port.node, given.name), given

    def _model(self, node: Node) -> Block:
        version = self._version(node.model)
        fed = {each.input: list(self._fed(node.name, each.input, each.sources)) for each in node.model.inputs}
        return _model_block(node.name, _what(node.model), version, fed)

    def _version(self, node: ModelNode) -> Version:
        versions = self._models[node.model].versions if node.model in self._models else ()
        found = next((version for version in versions if version.version == node.version), None)
        if found is None:
            raise Mistake(f"no version {node.version} of model {node.model!r} [UNKNOWN_VERSION]")
        return found

    def _fed(self, node: str, name: str, sources: Sequence[PortMessage]) -> Iterator[Edge]:
        for number, source in enumerate(sources, 1):
            part = f", part {number} of {len(sources)}" if len(sources) > 1 else ""
            yield _edge(*self._between(source, node), f"as {name}{part}")

    def _between(self, source: PortMessage, target: str) -> tuple[Port, str, Output]:
        port, given = self._resolve(source)
        return port, target, given

    def _ensemble(self, node: Node) -> Block:
        edges = [
            _edge(*self._between(member.source, node.name), f"weight {member.weight:g}" if member.weight else "")
            for member in node.ensemble.members
        ]
        _, given = self._resolve(node.ensemble.members[0].source)
        method = words(EnsembleMethod.Name, "ENSEMBLE_METHOD_", node.ensemble.method)
        return Block(Kind.ENSEMBLE, node.name, method, tuple(edges), (given,))

    def _cascade(self, node: Node) -> Block:
        stages = node.cascade.stages
        outputs = self._blocks[stages[0].node].gives
        edges = [edge for number in range(len(stages)) for edge in self._stage(node, number, outputs)]
        return Block(Kind.CASCADE, node.name, "cascade", tuple(edges), outputs)

    def _stage(self, node: Node, number: int, outputs: Sequence[Output]) -> Iterator[Edge]:
        stage = node.cascade.stages[number]
        is_last = number == len(node.cascade.stages) - 1
        note = f"stage {number + 1}, stands {'always' if is_last else self._condition(stage)}"
        for index, output in enumerate(outputs):
            edge = self._between(PortMessage(node=stage.node, output=output.name), node.name)
            yield _edge(*edge, note if index == 0 else f"stage {number + 1}")
        confidence = _confidence(stage)
        if not is_last and confidence.node != stage.node:
            yield _edge(*self._between(confidence, node.name), f"confidence of stage {number + 1}")

    def _condition(self, stage: CascadeStage) -> str:
        port, _ = self._resolve(_confidence(stage))
        is_plain = port.block == stage.node and len(self._blocks[stage.node].gives) == 1
        is_value = stage.measure == ConfidenceMeasure.CONFIDENCE_MEASURE_VALUE
        measure = "value" if is_value else "confidence"
        return f"from {measure} {stage.threshold:g}" + ("" if is_plain else f" of {port}")


def _taken(node: Node) -> Iterator[str]:
    """Yield the names of the nodes that a node takes from."""
    ensemble: Ensemble = node.ensemble
    cascade: Cascade = node.cascade
    yield from (source.node for each in node.model.inputs for source in each.sources)
    yield from (member.source.node for member in ensemble.members)
    for stage in cascade.stages:
        yield stage.node
        yield _confidence(stage).node


def _confidence(stage: CascadeStage) -> PortMessage:
    """Return what tells how sure a stage is: if nothing is said, its only output."""
    return stage.confidence if stage.HasField("confidence") else PortMessage(node=stage.node)


def _edge(port: Port, target: str, given: Output, note: str = "") -> Edge:
    return Edge(port, target, str(port), given.type, note)


def _model_block(name: str, what: str, version: Version, fed: Mapping[str, Sequence[Edge]]) -> Block:
    """Return the block of a version that takes features, but for the inputs that are `fed`."""
    bindings = {binding.input: binding for binding in version.bindings}
    edges: list[Edge] = []
    for spec in version.signature.inputs:
        own = Edge(None, name, spec.name, _type(spec), _features(bindings.get(spec.name, InputBinding())))
        edges += fed.get(spec.name, [own])
    outputs = tuple(Output(spec.name, _type(spec)) for spec in version.signature.outputs)
    return Block(Kind.MODEL, name, what, tuple(edges), outputs)


def _what(node: ModelNode) -> str:
    name = f"{node.model} {node.version}"
    if not node.optional:
        return name
    return f"{name}, optional, else {values_text(node.defaults) if node.defaults else 'left out'}"


def values_text(tensors: Sequence[Tensor]) -> str:
    """Return one row of several outputs, e.g. `probability 0.2, classes [1, 2]`."""
    return ", ".join(f"{tensor.name} {_values(values_of(tensor))}" for tensor in tensors)


def _values(values: Sequence[object]) -> str:
    return str(values[0]) if len(values) == 1 else f"[{', '.join(map(str, values))}]"


def _type(spec: TensorSpec) -> str:
    shape = f"[{', '.join(map(str, spec.shape))}]" if spec.shape else ""
    return f"{type_name(spec.data_type)}{shape}"


def _features(binding: InputBinding) -> str:
    """Return how much of which view an input takes, and what of the request: `plane (2, age), request (hour)`."""
    views: dict[str, list[str]] = {}
    for source in binding.sources:
        place, item = _place(source)
        views.setdefault(place, []).append(item)
    return ", ".join(f"{place} ({', '.join(_counted(place, items))})" for place, items in views.items())


def _place(source: Source) -> tuple[str, str]:
    if source.HasField("request"):
        return "request", source.request
    return (source.field.view, "") if source.HasField("field") else (source.age_of_view, "age")


def _counted(place: str, items: Sequence[str]) -> list[str]:
    """Return the names, or of a view the number of its fields, and its age."""
    fields = items.count("")
    named = list(dict.fromkeys(item for item in items if item))
    return named if place == "request" or not fields else [str(fields), *named]
