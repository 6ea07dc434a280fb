"""Graphs of composed versions, to and from their YAML form."""

from __future__ import annotations

from collections.abc import Iterable

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
from services.cli.resources.cursor import Cursor
from services.cli.resources.rows import read_row, show_row
from services.cli.values import whole

_METHODS = {
    "vote": EnsembleMethod.ENSEMBLE_METHOD_VOTE,
    "mean": EnsembleMethod.ENSEMBLE_METHOD_MEAN,
    "weighted_mean": EnsembleMethod.ENSEMBLE_METHOD_WEIGHTED_MEAN,
    "max": EnsembleMethod.ENSEMBLE_METHOD_MAX,
}
_METHOD_NAMES = {method: name for name, method in _METHODS.items()}
_MEASURES = {
    "probability": ConfidenceMeasure.CONFIDENCE_MEASURE_PROBABILITY,
    "value": ConfidenceMeasure.CONFIDENCE_MEASURE_VALUE,
}
_MEASURE_NAMES = {measure: name for name, measure in _MEASURES.items()}
_KINDS = ("model", "ensemble", "cascade")


def read_graph(cursor: Cursor) -> Graph:
    """Return the graph: its nodes by name, and where each of its outputs comes from."""
    members = cursor.mapping(("nodes", "outputs"))
    return Graph(
        nodes=[_read_node(name, member) for name, member in members["nodes"].members().items()],
        outputs=[
            GraphOutput(name=name, source=_read_port(member)) for name, member in members["outputs"].members().items()
        ],
    )


def _read_port(cursor: Cursor) -> Port:
    return cursor.parsed(parse_port)


def parse_port(text: str) -> Port:
    """Return the port that `node.output`, or `node` alone, names. ValueError if it names none."""
    node, dot, output = text.partition(".")
    if not node or (dot and not output):
        raise ValueError(f"{text!r} is no output of a node: NODE.OUTPUT, or NODE if it has only one")
    return Port(node=node, output=output)


def port_text(port: Port) -> str:
    """Return the text that `parse_port` reads as `port`."""
    return f"{port.node}.{port.output}" if port.output else port.node


def _read_node(name: str, cursor: Cursor) -> Node:
    kinds = [kind for kind in _KINDS if kind in cursor.members()]
    if len(kinds) != 1:
        cursor.fail(f"must be one of {', '.join(_KINDS)}")
    match kinds[0]:
        case "model":
            return Node(name=name, model=_read_model(cursor))
        case "ensemble":
            return Node(name=name, ensemble=_read_ensemble(cursor))
        case _:
            return Node(name=name, cascade=_read_cascade(cursor))


def _read_model(cursor: Cursor) -> ModelNode:
    members = cursor.mapping(("model",), ("inputs", "optional", "defaults"))
    model, at, version = members["model"].text().rpartition("@")
    if not (model and at and version):
        members["model"].fail(f"{members['model'].value!r} is no MODEL@VERSION, e.g. delay@1.0.0")
    node = ModelNode(model=model, version=version)
    if "inputs" in members:
        node.inputs.extend(_read_input(name, member) for name, member in members["inputs"].members().items())
    if "optional" in members:
        node.optional = members["optional"].boolean()
    if "defaults" in members:
        node.defaults.extend(read_row(members["defaults"]))
    return node


def _read_input(name: str, cursor: Cursor) -> NodeInput:
    ports = cursor.items() if isinstance(cursor.value, list) else [cursor]
    return NodeInput(input=name, sources=[_read_port(port) for port in ports])


def _read_ensemble(cursor: Cursor) -> Ensemble:
    members = cursor.mapping(("ensemble", "of"))
    method = members["ensemble"].choice(_METHODS)
    of = members["of"]
    if method != EnsembleMethod.ENSEMBLE_METHOD_WEIGHTED_MEAN:
        if isinstance(of.value, dict):
            of.fail("must be a list of outputs: only a weighted_mean has weights")
        combined = [EnsembleMember(source=_read_port(item)) for item in of.items()]
    else:
        if isinstance(of.value, list):
            of.fail("must be a mapping of outputs to their weights, e.g. {a: 0.3, b: 0.7}")
        combined = [_read_weighted(port, member) for port, member in of.members().items()]
    return Ensemble(method=method, members=combined)


def _read_weighted(port: str, cursor: Cursor) -> EnsembleMember:
    try:
        source = parse_port(port)
    except ValueError as error:
        cursor.fail(str(error))
    return EnsembleMember(source=source, weight=cursor.number())


def _read_cascade(cursor: Cursor) -> Cascade:
    stages = cursor.mapping(("cascade",))["cascade"].items()
    return Cascade(stages=[_read_stage(stage, last=stage is stages[-1]) for stage in stages])


def _read_stage(cursor: Cursor, *, last: bool) -> CascadeStage:
    members = cursor.mapping(("node",) if last else ("node", "threshold"), ("threshold", "confidence", "measure"))
    stage = CascadeStage(node=members["node"].parsed(_node_name))
    if not last:
        # Without more it is by its only output that a node tells how sure it is.
        stage.confidence.node = stage.node
    if "threshold" in members:
        stage.threshold = members["threshold"].number()
    if "confidence" in members:
        stage.confidence.CopyFrom(_read_port(members["confidence"]))
    if "measure" in members:
        stage.measure = members["measure"].choice(_MEASURES)
    return stage


def _node_name(text: str) -> str:
    node, dot, _ = text.partition(".")
    if dot:
        raise ValueError(f"{text!r} is an output, and a stage is a node: {node}, with `confidence: {text}`")
    return text


def show_graph(graph: Graph) -> dict[str, object]:
    """Return the YAML form of a graph."""
    return {
        "nodes": {node.name: _show_node(node) for node in graph.nodes},
        "outputs": {output.name: port_text(output.source) for output in graph.outputs},
    }


def _show_node(node: Node) -> dict[str, object]:
    match node.WhichOneof("kind"):
        case "ensemble":
            return _show_ensemble(node.ensemble)
        case "cascade":
            return {"cascade": [_show_stage(stage) for stage in node.cascade.stages]}
        case _:
            return _show_model(node.model)


def _show_model(node: ModelNode) -> dict[str, object]:
    shown: dict[str, object] = {"model": f"{node.model}@{node.version}"}
    if node.inputs:
        shown["inputs"] = {each.input: _show_ports(each.sources) for each in node.inputs}
    if node.optional:
        shown["optional"] = True
    if node.defaults:
        shown["defaults"] = show_row(node.defaults)
    return shown


def _show_ports(ports: Iterable[Port]) -> object:
    texts = [port_text(port) for port in ports]
    return texts if len(texts) > 1 else texts[0]


def _show_ensemble(ensemble: Ensemble) -> dict[str, object]:
    weighted = ensemble.method == EnsembleMethod.ENSEMBLE_METHOD_WEIGHTED_MEAN
    of: object = [port_text(member.source) for member in ensemble.members]
    if weighted:
        of = {port_text(member.source): whole(member.weight) for member in ensemble.members}
    return {"ensemble": _METHOD_NAMES.get(ensemble.method, ""), "of": of}


def _show_stage(stage: CascadeStage) -> dict[str, object]:
    shown: dict[str, object] = {"node": stage.node}
    if stage.HasField("confidence") and port_text(stage.confidence) != stage.node:
        shown["confidence"] = port_text(stage.confidence)
    if stage.measure:
        shown["measure"] = _MEASURE_NAMES.get(stage.measure, "")
    if stage.HasField("confidence") or stage.threshold:
        shown["threshold"] = whole(stage.threshold)
    return shown
