"""Graphs of the registry as the gateway computes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from predictmesh.registry.v1.graph_pb2 import Graph as WireGraph
from predictmesh.registry.v1.graph_pb2 import Node as WireNode
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.gateway.convert_graph import Feeds, graph_of
from services.gateway.graph.nodes import (
    CascadeNode,
    ConfidenceMeasure,
    EnsembleMethod,
    EnsembleNode,
    Graph,
    ModelNode,
    Port,
)
from services.gateway.target import Input, Target
from tests.support.predictions import target
from tests.worlds.graphs import cascade, ensemble, graph, node

TWO = ("label:INT64:1", "p:FP32:2")
VERSIONS: dict[str, Target] = {
    "one@1": target({"x:FP32:1": ["x"]}, outputs=("p:FP32:1",)),
    "sure@1": target({"x:FP32:1": ["x"]}, outputs=("p:FP32:1:finite",)),
    "two@1": target({"x:FP32:2": ["x"], "w:INT64:1": ["w"]}, outputs=TWO),
    "owt@1": target({"x:FP32:1": ["x"]}, outputs=(*reversed(TWO), "more:BOOL:1")),
    "strict@1": target({"x:FP32:1:finite": ["x"]}, outputs=("p:FP32:1",)),
    "text@1": target({"t:BYTES:1": ["t"]}, outputs=("t:BYTES:1",)),
}


def find(model: str, number: str) -> Target:
    """The version of this name."""
    return VERSIONS[f"{model}@{number}"]


def compiled(made: WireGraph, **changed: Target) -> Graph:
    """The graph, fed with what no node feeds as the registry says it; inputs may be `changed` from that."""
    inputs: dict[str, Input] = {}
    for wire in made.nodes:
        fed = {feed.input for feed in wire.model.inputs}
        known = VERSIONS.get(f"{wire.model.model}@{wire.model.version}")
        inputs |= {f"{wire.name}.{feed.name}": feed for feed in (known.inputs if known else ()) if feed.name not in fed}
    inputs |= {name.replace("_", "."): aim.inputs[0] for name, aim in changed.items()}
    return graph_of(made, Feeds(list(inputs.values()), {name: place for place, name in enumerate(inputs)}), find)


def model_node(found: Graph, name: str) -> ModelNode:
    """The node of this name."""
    return next(each for each in found.nodes if isinstance(each, ModelNode) and each.name == name)


PIPELINE = [
    node("last", "two@1", {"x": ["first.p", "again"]}),
    node("again", "one@1", {"x": "first"}),
    node("first", "one@1"),
]


def test_nodes_stand_behind_those_that_they_take_from() -> None:
    """In whatever order they were written; outputs lead to them by place."""
    found = compiled(graph(*PIPELINE, label="last.label", p="last.p", raw="first"))
    assert ["first", "again", "last"] == [each.name for each in found.nodes]
    assert (Port(2, 0), Port(2, 1), Port(0, 0)) == found.outputs
    assert (None, (0, 1, 2)) == (found.cascade, found.segment(0))


def test_feeds() -> None:
    """An input takes from the composed version's inputs, or from one or several ports, in order."""
    found = compiled(graph(*PIPELINE, p="last.p"))
    assert [(1,), ((Port(0, 0),),), ((Port(0, 0), Port(1, 0)), 0)] == [
        each.feeds for each in found.nodes if isinstance(each, ModelNode)
    ]
    assert VERSIONS["two@1"] is model_node(found, "last").target


def test_ensemble() -> None:
    """It is of its first member's name and type, and of numbers that are finite; weights are those of a weighted mean."""
    nodes = [node("a", "one@1"), node("b", "owt@1"), node("c", "two@1")]
    found = compiled(
        graph(
            *nodes,
            ensemble("mean", "WEIGHTED_MEAN", {"c.p": 1.0, "b.p": 3.0}),
            ensemble("vote", "VOTE", ["b.label", "c.label"]),
            p="mean",
            label="vote",
        )
    )
    mean, vote = (each for each in found.nodes if isinstance(each, EnsembleNode))
    assert (EnsembleMethod.WEIGHTED_MEAN, (1.0, 3.0)) == (mean.method, mean.weights)
    assert (EnsembleMethod.VOTE, ()) == (vote.method, vote.weights)
    places = {each.name: place for place, each in enumerate(found.nodes)}
    assert (Port(places["c"], 1), Port(places["b"], 0)) == mean.members
    assert [("p", (2,), True)] == [(each.name, each.shape, each.finite) for each in mean.outputs]
    assert [("label", (1,), False)] == [(each.name, each.shape, each.finite) for each in vote.outputs]


def test_what_an_ensemble_takes_must_be_finite() -> None:
    """Where the model service does not see to it; also of what a cascade hands on to it, but not of what others take."""
    nodes = [node(name, f"{model}@1") for name, model in zip("abcd", ("one", "sure", "one", "one"), strict=True)]
    found = compiled(
        graph(
            *nodes,
            cascade("first", ("a", 0.8), "b"),
            ensemble("mean", "MEAN", ["first", "c"]),
            p="mean",
            raw="d",
        )
    )
    assert {"a": (0,), "b": (), "c": (0,), "d": ()} == {
        each.name: each.finite_outputs for each in found.nodes if isinstance(each, ModelNode)
    }


def test_what_must_be_finite_as_an_input_is_so_as_an_output() -> None:
    """Of every node that feeds it; what the model service checks by itself is not checked once more."""
    nodes = [node(name, f"{version}@1") for name, version in {"a": "one", "b": "sure", "c": "one"}.items()]
    takers = [node(f"of-{name}", f"{'one' if name == 'c' else 'strict'}@1", {"x": name}) for name in "abc"]
    found = compiled(graph(*nodes, *takers, **{name: f"of-{name}" for name in "abc"}))
    assert [(0,), (), ()] == [model_node(found, name).finite_outputs for name in "abc"]


def test_cascade() -> None:
    """Its stages hand on the outputs of the first, found by name; only the last one is not asked how sure it is."""
    nodes = [node("cheap", "two@1"), node("dear", "owt@1"), node("last", "owt@1")]
    stages = cascade("sure", ("cheap", 0.8), ("dear", 0.9), "last", cheap="cheap.p", dear="cheap.p", measure="VALUE")
    stages.cascade.stages[0].ClearField("measure")
    found = compiled(graph(*nodes, stages, label="sure.label", p="sure.p"))
    assert found.cascade == 3
    made = found.nodes[3]
    assert isinstance(made, CascadeNode)
    assert ["label", "p"] == [each.name for each in made.outputs]
    places = {each.name: place for place, each in enumerate(found.nodes)}
    cheap, dear, last = places["cheap"], places["dear"], places["last"]
    assert [cheap, dear, last] == [stage.node for stage in made.stages]
    assert [(Port(cheap, 0), Port(cheap, 1)), (Port(dear, 1), Port(dear, 0)), (Port(last, 1), Port(last, 0))] == [
        stage.ports for stage in made.stages
    ]
    assert [Port(cheap, 1), Port(cheap, 1), None] == [stage.confidence for stage in made.stages]
    assert [0.8, 0.9] == [stage.threshold for stage in made.stages[:-1]]
    assert [ConfidenceMeasure.PROBABILITY, ConfidenceMeasure.VALUE] == [stage.measure for stage in made.stages[:-1]]
    assert [0, 1, 2, 3] == [found.nodes[place].segment for place in (cheap, dear, last, 3)]


def test_confidence_is_of_the_stage_itself_where_none_is_named() -> None:
    """Of its only output."""
    stages = cascade("sure", ("cheap", 0.8), "dear")
    stages.cascade.stages[0].ClearField("confidence")
    found = compiled(graph(node("dear", "one@1"), node("cheap", "one@1"), stages, p="sure"))
    made = found.nodes[2]
    assert isinstance(made, CascadeNode)
    assert Port(made.stages[0].node, 0) == made.stages[0].confidence


def test_answer_of_a_cascade_is_finite_if_all_stages_are() -> None:
    """One that may answer NaN is enough for the cascade to do so."""
    nodes = [node("a", "sure@1"), node("b", "sure@1"), node("c", "one@1")]
    last = [
        compiled(graph(*nodes, cascade("s", ("a", 0.8), other), ensemble("m", "MAX", ["s", "b", "c"]), p="m")).nodes
        for other in ("b", "c")
    ]
    assert [True, False] == [each.outputs[0].finite for nodes in last for each in nodes if each.name == "s"]


def defaults_of(version: str, optional: bool = True, **defaults: Any) -> Any:
    """The defaults of a node of the version."""
    made = node("n", version, optional=optional, defaults=defaults)
    return model_node(compiled(graph(made, p=f"n.{VERSIONS[version].outputs[-1].name}")), "n").defaults


def test_defaults() -> None:
    """A row of each output, in the order of the outputs, as its type has it."""
    label, p = defaults_of("two@1", p=Tensor(name="p", floats=[0.25, 0.75], shape=[1, 2]), label=[7])
    assert ([[7]], [[0.25, 0.75]]) == (label.tolist(), p.tolist())
    assert (np.int64, np.float32) == (label.dtype, p.dtype)
    (text,) = defaults_of("text@1", t=["ü"])
    assert (["ü".encode()], object) == (text[0].tolist(), text.dtype)


def test_nothing_stands_for_a_node_without_defaults() -> None:
    """Nor for one that must answer."""
    assert defaults_of("one@1") is None
    assert defaults_of("one@1", optional=False, p=[0.5]) is None


A, B, T = node("a", "one@1"), node("b", "one@1"), node("t", "text@1")
PLAIN = [A, B, cascade("s", ("a", 0.8), "b")]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        pytest.param(graph(node("a", "one@1", {"x": "b"}), node("b", "one@1", {"x": "a"}), p="a"), "cycle", id="cycle"),
        pytest.param(graph(node("a", "one@1", {"x": "nobody"}), p="a"), "nobody", id="node"),
        pytest.param(graph(A, p="a.nothing"), "not in", id="output"),
        pytest.param(graph(node("a", "two@1"), p="a"), "several outputs: label, p", id="output not named"),
        pytest.param(graph(node("a", "one@2"), p="a"), "one@2", id="version"),
        pytest.param(graph(A, node("b", "one@1", {"y": "a"}), p="b"), "no input y", id="input"),
        pytest.param(graph(T, node("a", "one@1", {"x": "t"}), p="a"), "'a.x' is not fed", id="type"),
        pytest.param(graph(A, node("c", "two@1", {"x": "a"}), p="c.p"), "2 of FP32", id="elements"),
        pytest.param(graph(A, T, ensemble("m", "MAX", ["a", "t"]), p="m"), "'p' and 't'", id="members"),
        pytest.param(graph(ensemble("m", "MAX", []), p="m"), "not enough", id="no members"),
        pytest.param(graph(A, B, ensemble("m", "WEIGHTED_MEAN", ["a", "b"]), p="m"), "weights", id="no weights"),
        pytest.param(
            graph(A, B, ensemble("m", "WEIGHTED_MEAN", {"a": 1, "b": math.nan}), p="m"), "weights", id="weights"
        ),
        pytest.param(graph(A, B, ensemble("m", "UNSPECIFIED", ["a", "b"]), p="m"), "0 is not", id="method"),
        pytest.param(graph(A, T, cascade("s", ("a", 0.8), "t"), p="s"), "not in", id="stages"),
        pytest.param(graph(cascade("s"), p="s"), "out of range", id="no stages"),
        pytest.param(graph(*PLAIN, cascade("z", ("a", 0.8), "s"), p="z"), "one cascade, not 2: s, z", id="cascades"),
        pytest.param(graph(WireNode(name="a"), p="a"), "no kind", id="kind"),
        pytest.param(
            graph(node("a", "one@1", optional=True, defaults={"q": [0.5]}), p="a"), "'p'", id="default's name"
        ),
        pytest.param(
            graph(node("a", "one@1", optional=True, defaults={"p": [[0.5, 1.0]]}), p="a"),
            "has 1 values a row, not 2",
            id="default",
        ),
    ],
)
def test_what_cannot_be_computed(made: WireGraph, reason: str) -> None:
    """The registry lets nothing of it through; if it does, no answer is better than a wrong one."""
    with pytest.raises((LookupError, ValueError), match=reason):
        compiled(made)


def test_input_of_another_type_than_its_node_takes() -> None:
    """As if the node's version had been registered anew since."""
    with pytest.raises(ValueError, match=r"'a.x' is not fed"):
        compiled(graph(A, p="a"), a_x=target({"x:FP64:1": ["x"]}))
