"""A composed version's graph as the gateway computes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import NamedTuple

from predictmesh.registry.v1 import graph_pb2
from services.gateway.convert_rows import one_row
from services.gateway.graph.nodes import (
    CascadeNode,
    ConfidenceMeasure,
    EnsembleMethod,
    EnsembleNode,
    Graph,
    ModelNode,
    Node,
    Port,
    Stage,
)
from services.gateway.graph.segments import segments_of
from services.gateway.target import Input, Output, Target

Find = Callable[[str, str], Target]
"""Returns what a node is by its model and number; raises LookupError where there is none."""


class Feeds(NamedTuple):
    """What a composed version's requests and views feed: its inputs, and the place among them of each `node.input`."""

    inputs: Sequence[Input]
    places: Mapping[str, int]


def graph_of(graph: graph_pb2.Graph, feeds: Feeds, find: Find) -> Graph:
    """Return the graph of nodes that `find` returns.

    Raises LookupError or ValueError for what cannot be computed; the registry refuses it.
    """
    wire = {node.name: node for node in graph.nodes}
    taken = {name: tuple(dict.fromkeys(_taken(node))) for name, node in wire.items()}
    takes = {name: taken[name] for name in TopologicalSorter(taken).static_order()}
    cascade = _cascade_of(graph)
    stages = [_of_stage(stage) for stage in wire[cascade].cascade.stages] if cascade else []
    segments = segments_of(takes, [output.source.node for output in graph.outputs], cascade, stages)
    nodes = _Nodes(feeds, find)
    for name in takes:
        nodes.add(wire[name], segments[name])
    return Graph(
        nodes=_guarded(nodes.built),
        outputs=tuple(nodes.port(output.source) for output in graph.outputs),
        cascade=nodes.places[cascade] if cascade else None,
    )


def _taken(node: graph_pb2.Node) -> Iterable[str]:
    """Return the nodes that a node takes from."""
    match node.WhichOneof("kind"):
        case "model":
            return (port.node for feed in node.model.inputs for port in feed.sources)
        case "ensemble":
            return (member.source.node for member in node.ensemble.members)
        case _:
            return (name for stage in node.cascade.stages for name in _of_stage(stage))


def _of_stage(stage: graph_pb2.CascadeStage) -> tuple[str, ...]:
    return (stage.node, stage.confidence.node) if stage.confidence.node else (stage.node,)


def _cascade_of(graph: graph_pb2.Graph) -> str | None:
    names = [node.name for node in graph.nodes if node.HasField("cascade")]
    if len(names) > 1:
        raise ValueError(f"a graph has one cascade, not {len(names)}: {', '.join(names)}")
    return names[0] if names else None


class _Nodes:
    """The nodes of a graph, each added after those that it takes from."""

    def __init__(self, feeds: Feeds, find: Find) -> None:
        self.built: list[Node] = []
        self.places: dict[str, int] = {}
        self._feeds = feeds
        self._find = find

    def add(self, node: graph_pb2.Node, segment: int) -> None:
        match node.WhichOneof("kind"):
            case "model":
                made: Node = self._model(node, segment)
            case "ensemble":
                made = self._ensemble(node, segment)
            case "cascade":
                made = self._cascade(node, segment)
            case _:
                raise ValueError(f"node {node.name!r} is of no kind that is known here")
        self.places[node.name] = len(self.built)
        self.built.append(made)

    def port(self, port: graph_pb2.Port) -> Port:
        """Return the port by places; without a name it is that of the node's only output."""
        place = self.places[port.node]
        names = [output.name for output in self.built[place].outputs]
        if not port.output and len(names) > 1:
            raise ValueError(f"{port.node!r} has several outputs: {', '.join(names)}")
        return Port(place, names.index(port.output) if port.output else 0)

    def _output(self, port: Port) -> Output:
        return self.built[port.node].outputs[port.output]

    def _model(self, node: graph_pb2.Node, segment: int) -> ModelNode:
        target = self._find(node.model.model, node.model.version)
        fed = {each.input: tuple(map(self.port, each.sources)) for each in node.model.inputs}
        unknown = fed.keys() - {each.name for each in target.inputs}
        if unknown:
            raise ValueError(f"node {node.name!r} has no input {', '.join(sorted(unknown))}")
        given = node.model.optional and node.model.defaults
        return ModelNode(
            name=node.name,
            target=target,
            feeds=tuple(self._feed(f"{node.name}.{each.name}", each, fed.get(each.name)) for each in target.inputs),
            optional=node.model.optional,
            defaults=one_row(node.model.defaults, target.outputs) if given else None,
            finite_outputs=(),
            segment=segment,
        )

    def _feed(self, name: str, taker: Input, ports: tuple[Port, ...] | None) -> int | tuple[Port, ...]:
        feed = self._feeds.places[name] if ports is None else ports
        givers = [self._feeds.inputs[feed]] if isinstance(feed, int) else [self._output(port) for port in feed]
        if {giver.dtype for giver in givers} != {taker.dtype} or sum(giver.width for giver in givers) != taker.width:
            raise ValueError(f"{name!r} is not fed what it takes: {taker.width} of {taker.dtype.name}")
        return feed

    def _ensemble(self, node: graph_pb2.Node, segment: int) -> EnsembleNode:
        method = EnsembleMethod(node.ensemble.method)
        members = tuple(self.port(member.source) for member in node.ensemble.members)
        weighted = method is EnsembleMethod.WEIGHTED_MEAN
        weights = tuple(member.weight for member in node.ensemble.members) if weighted else ()
        if not all(0 < weight < math.inf for weight in weights):
            raise ValueError(f"node {node.name!r} has weights that are not more than 0 and finite")
        first, *others = map(self._output, members)
        for other in others:
            _check_like(node.name, first, other)
        # Where a member is not finite its node fails, so what is made of the others is.
        made = replace(first, finite=first.dtype.is_float)
        return EnsembleNode(node.name, method, members, weights, (made,), segment)

    def _cascade(self, node: graph_pb2.Node, segment: int) -> CascadeNode:
        wire = node.cascade.stages
        first = self.built[self.places[wire[0].node]].outputs
        last = len(wire) - 1
        stages = tuple(self._stage(stage, first, is_last=index == last) for index, stage in enumerate(wire))
        return CascadeNode(node.name, stages, self._answers(node.name, first, stages), segment)

    def _stage(self, wire: graph_pb2.CascadeStage, outputs: Sequence[Output], *, is_last: bool) -> Stage:
        place = self.places[wire.node]
        names = [output.name for output in self.built[place].outputs]
        told_by = graph_pb2.Port(node=wire.confidence.node or wire.node, output=wire.confidence.output)
        return Stage(
            node=place,
            ports=tuple(Port(place, names.index(output.name)) for output in outputs),
            confidence=None if is_last else self.port(told_by),
            measure=ConfidenceMeasure(wire.measure or graph_pb2.CONFIDENCE_MEASURE_PROBABILITY),
            threshold=wire.threshold,
        )

    def _answers(self, name: str, first: Sequence[Output], stages: Sequence[Stage]) -> tuple[Output, ...]:
        answers = []
        for index, output in enumerate(first):
            same = [self._output(stage.ports[index]) for stage in stages]
            for other in same:
                _check_like(name, output, other)
            answers.append(replace(output, finite=all(other.finite for other in same)))
        return tuple(answers)


def _check_like(node: str, first: Output, other: Output) -> None:
    if (first.dtype, first.shape) != (other.dtype, other.shape):
        raise ValueError(f"node {node!r} takes {first.name!r} and {other.name!r}, which differ in type or shape")


def _taken_finite(node: Node) -> Iterable[Port]:
    """Return the ports from which a node takes numbers only, neither NaN nor infinity."""
    if isinstance(node, EnsembleNode):
        return node.members
    if isinstance(node, ModelNode):
        pairs = zip(node.target.inputs, node.feeds, strict=True)
        return [port for taker, feed in pairs if taker.finite and not isinstance(feed, int) for port in feed]
    return ()


def _guarded(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return the nodes, those of models with the outputs that must be finite and the model service does not check."""
    taken = [port for node in nodes for port in _taken_finite(node)]
    guarded: set[Port] = set()
    while taken:
        port = taken.pop()
        node = nodes[port.node]
        output = node.outputs[port.output]
        if isinstance(node, CascadeNode):
            taken += [stage.ports[port.output] for stage in node.stages]
        elif isinstance(node, ModelNode) and output.dtype.is_float and not output.finite:
            guarded.add(port)
    return tuple(
        replace(node, finite_outputs=tuple(sorted(port.output for port in guarded if port.node == place)))
        if isinstance(node, ModelNode)
        else node
        for place, node in enumerate(nodes)
    )
