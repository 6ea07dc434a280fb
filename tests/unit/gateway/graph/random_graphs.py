"""Composed versions of any shape: versions, ensembles and cascades of all kinds of types, in any order."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import NamedTuple

from predictmesh.registry.v1 import graph_pb2
from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.gateway.convert_graph import Feeds, graph_of
from services.gateway.target import DType, Output, Target
from tests.support.predictions import target

# What requests bring, as name:TYPE:elements of a row; and what versions may answer.
FEATURES = {"h": "FP16:1", "f": "FP32:2", "d": "FP64:1", "i": "INT64:1", "b": "BYTES:1"}
ANSWERS = ("FP16:1", "FP16:3", "FP32:1", "FP32:2:2", "FP64:1", "INT64:1", "BYTES:1")
METHODS = {"BYTES": ("VOTE",), "INT64": ("VOTE", "MAX")}
DEFAULT = {DType.BYTES: ("blobs", b"none"), DType.INT64: ("ints", 7), DType.FP64: ("doubles", 0.25)}


class Port(NamedTuple):
    """An output of a node; it may have no value for a row if it `may_lack`."""

    node: str
    output: str
    kind: str
    may_lack: bool


class RandomGraph:
    """A graph that the registry would take."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._graph = graph_pb2.Graph()
        self._versions: dict[str, Target] = {}
        self._inputs: dict[str, list[str]] = {}
        self._ports: list[Port] = []
        for _ in range(chance.randint(1, 3)):
            self._version([chance.choice(ANSWERS)])
        self._more()
        if chance.random() < 0.75:
            self._cascade()
            self._more()

    def target(self) -> Target:
        """The composed target; its outputs are of whatever nothing takes from."""
        taken = {port.node for node in self._graph.nodes for port in _taken(node)}
        last = {port.node: port for port in reversed(self._ports) if port.node not in taken}
        for port in last.values():
            self._graph.outputs.add(name=port.node).source.MergeFrom(_wire(port))
        whole = target(self._inputs, outputs=[f"{port.node}:{port.kind}" for port in last.values()])
        feeds = Feeds(whole.inputs, {feed.name: place for place, feed in enumerate(whole.inputs)})
        return replace(whole, graph=graph_of(self._graph, feeds, lambda _, number: self._versions[number]))

    def _more(self) -> None:
        for _ in range(self._chance.randint(0, 3)):
            if self._chance.random() < 0.5:
                self._version([self._chance.choice(ANSWERS)])
            else:
                self._ensemble(self._chance.choice(self._ports))

    def _add(self) -> graph_pb2.Node:
        return self._graph.nodes.add(name=f"n{len(self._graph.nodes)}")

    def _version(self, kinds: list[str]) -> Port:
        """A version that answers outputs of these kinds, and takes features and what others answer."""
        node = self._add()
        number = f"1.{len(self._versions)}.0"
        node.model.model, node.model.version = "m", number
        node.model.optional = self._chance.random() < 0.5
        inputs: dict[str, list[str]] = {}
        for name in ("x", "y"):
            givers = [port for port in self._ports if not port.may_lack]
            if givers and self._chance.random() < 0.4:
                inputs[self._fed(node, name, self._chance.choice(givers))] = ["fed"]
            else:
                feature, kind = self._chance.choice(list(FEATURES.items()))
                inputs[f"{name}:{kind}"] = self._inputs[f"{node.name}.{name}:{kind}"] = [feature]
        outputs = [f"o{place}:{kind}" for place, kind in enumerate(kinds)]
        made = self._versions[number] = replace(target(inputs, outputs=outputs), model="m", version=number)
        if node.model.optional and self._chance.random() < 0.5:
            node.model.defaults.extend(map(_default, made.outputs))
        may_lack = node.model.optional and not node.model.defaults
        self._ports += [Port(node.name, f"o{place}", kind, may_lack) for place, kind in enumerate(kinds)]
        return self._ports[-len(kinds)]

    def _fed(self, node: graph_pb2.Node, name: str, port: Port) -> str:
        """Feed an input, and return it as name:TYPE:elements."""
        kind, *shape = port.kind.split(":")
        node.model.inputs.add(input=name, sources=[_wire(port)])
        finite = ":finite" if kind.startswith("FP") and self._chance.random() < 0.5 else ""
        elements = 1
        for size in shape:
            elements *= int(size)
        return f"{name}:{kind}:{elements}{finite}"

    def _ensemble(self, first: Port) -> Port:
        others = [port for port in self._ports if port.kind == first.kind and port.node != first.node]
        other = self._chance.choice(others) if others else self._version([first.kind])
        method = self._chance.choice(METHODS.get(first.kind.split(":")[0], ("MEAN", "WEIGHTED_MEAN", "MAX")))
        node = self._add()
        node.ensemble.method = graph_pb2.EnsembleMethod.Value(f"ENSEMBLE_METHOD_{method}")
        for port in (first, other):
            weight = self._chance.uniform(0.1, 2) if method == "WEIGHTED_MEAN" else 0
            node.ensemble.members.add(source=_wire(port), weight=weight)
        self._ports.append(Port(node.name, first.output, first.kind, first.may_lack and other.may_lack))
        return self._ports[-1]

    def _cascade(self) -> None:
        """Stages that are versions of one or two outputs, or ensembles of one."""
        kinds = ["FP32:1", *self._chance.sample(ANSWERS, self._chance.randint(0, 1))]
        stages = [self._version(kinds) for _ in range(self._chance.randint(2, 3))]
        if len(kinds) == 1:
            stages = [self._ensemble(port) if self._chance.random() < 0.4 else port for port in stages]
        node = self._add()
        for port in stages:
            stage = node.cascade.stages.add(node=port.node)
            if port is not stages[-1]:
                stage.confidence.MergeFrom(_wire(port))
                stage.threshold = self._chance.choice([0.6, 0.8, 0.95])
        self._ports += [Port(node.name, f"o{place}", kind, may_lack=False) for place, kind in enumerate(kinds)]


def _taken(node: graph_pb2.Node) -> list[graph_pb2.Port]:
    return [
        *(port for feed in node.model.inputs for port in feed.sources),
        *(member.source for member in node.ensemble.members),
        *(graph_pb2.Port(node=stage.node) for stage in node.cascade.stages),
    ]


def _wire(port: Port) -> graph_pb2.Port:
    return graph_pb2.Port(node=port.node, output=port.output)


def _default(output: Output) -> Tensor:
    field, value = DEFAULT.get(output.dtype, ("floats", 0.25))
    made = Tensor(name=output.name, data_type=DataType.Value(f"DATA_TYPE_{output.dtype.name}"))
    getattr(made, field).extend([value] * output.width)
    return made
