"""The form of a graph, whatever versions its nodes are."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from predictmesh.registry.v1.graph_pb2 import ModelNode, Node, NodeInput
from services.registry.definitions import Graph
from tests.support.definitions import version
from tests.support.graphs import graph, stage
from tests.unit.registry.graphs.refusing import MLP, NODES, TREES, Case, cases, check_refused, refusal
from tests.worlds.graphs import cascade, ensemble, node, port


def fed_twice(name: str, source: str) -> Node:
    """A node of post one of whose inputs stands there twice."""
    fed = NodeInput(input=name, sources=[port(source)])
    return Node(name="post", model=ModelNode(model="post", version="1.0.0", inputs=[fed, fed]))


FORM: dict[str, Case] = {
    "no nodes at all": (graph(), NODES, "1 to 64 nodes, not 0"),
    "no kind": (graph(MLP, Node(name="x"), p="mlp"), f"{NODES}[1]", "one of model, ensemble and cascade"),
    "a name twice": (graph(MLP, MLP, p="mlp"), f"{NODES}[1].name", "'mlp' is there twice"),
    "no outputs": (graph(MLP), "version.graph.outputs", "at least one output"),
    "an output twice": (
        replace(graph(MLP), outputs=graph(MLP, p="mlp").outputs * 2),
        "version.graph.outputs[1].name",
        "'p' is there twice",
    ),
    "an input twice": (
        graph(MLP, fed_twice("p", "mlp"), p="post"),
        f"{NODES}[1].model.inputs[1].input",
        "'p' is there twice",
    ),
    "an input of nothing": (
        graph(node("post", "post@1.0.0", {"p": []}), p="post"),
        f"{NODES}[0].model.inputs[0].sources",
        "nothing feeds post.p",
    ),
    "one member": (
        graph(MLP, ensemble("both", "MEAN", ["mlp"]), p="both"),
        f"{NODES}[1].ensemble.members",
        "at least two members",
    ),
    "no method": (
        graph(MLP, TREES, ensemble("both", "UNSPECIFIED", ["mlp", "trees.y"]), p="both"),
        f"{NODES}[2].ensemble.method",
        "VOTE, MEAN, WEIGHTED_MEAN or MAX",
    ),
    "a weight that no mean asks for": (
        graph(MLP, TREES, ensemble("both", "MAX", {"mlp": 0.0, "trees.y": 1.0}), p="both"),
        f"{NODES}[2].ensemble.members[1].weight",
        "only WEIGHTED_MEAN has weights, and this is MAX",
    ),
    "no weight": (
        graph(MLP, TREES, ensemble("both", "WEIGHTED_MEAN", ["mlp", "mlp.y"]), p="trees.z"),
        f"{NODES}[2].ensemble.members[0].weight",
        "0 is no weight of mlp",
    ),
    "a negative weight": (
        graph(MLP, TREES, ensemble("both", "WEIGHTED_MEAN", {"mlp": 1.0, "trees.y": -0.5}), p="both"),
        f"{NODES}[2].ensemble.members[1].weight",
        "-0.5 is no weight of trees.y",
    ),
    "an infinite weight": (
        graph(MLP, TREES, ensemble("both", "WEIGHTED_MEAN", {"mlp": math.inf, "trees.y": 0.5}), p="both"),
        f"{NODES}[2].ensemble.members[0].weight",
        "finite",
    ),
    "weights that cannot be added": (
        graph(MLP, TREES, ensemble("both", "WEIGHTED_MEAN", {"mlp": 1.5e308, "trees.y": 1.5e308}), p="both"),
        f"{NODES}[2].ensemble.members",
        "too large to be added",
    ),
    "more edges than anybody draws": (
        graph(MLP, ensemble("both", "MEAN", ["mlp"] * 5000), p="both"),
        NODES,
        "a graph has at most 4096 edges, not 5001",
    ),
    "one stage": (graph(MLP, cascade("sure", "mlp"), p="sure"), f"{NODES}[1].cascade.stages", "at least two stages"),
    "a threshold of the last stage": (
        graph(MLP, TREES, cascade("sure", ("mlp", 0.8), stage("trees", 0.9)), p="sure"),
        f"{NODES}[2].cascade.stages[1].threshold",
        "trees is the last stage, whose answer always stands",
    ),
    "a confidence of the last stage": (
        graph(MLP, TREES, cascade("sure", ("mlp", 0.8), stage("trees", 0, "trees.z")), p="sure"),
        f"{NODES}[2].cascade.stages[1].confidence",
        "always stands",
    ),
    "a measure of the last stage": (
        graph(MLP, TREES, cascade("sure", ("mlp", 0.8), stage("trees", 0, measure="VALUE")), p="sure"),
        f"{NODES}[2].cascade.stages[1].measure",
        "always stands",
    ),
    "defaults that never act": (
        graph(node("mlp", "churn@1.0.0", defaults={"y": [0.5]}), p="mlp"),
        f"{NODES}[0].model.defaults",
        "mlp is not optional",
    ),
}


@cases(FORM)
def test_a_graph_has_a_form(given: Graph, field: str, text: str) -> None:
    """Whatever versions its nodes are."""
    check_refused(given, field, text)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a" * 64])
def test_a_node_has_a_name_without_a_dot(name: str) -> None:
    """The first dot of an input's name parts it from its node's."""
    error = refusal(graph(node(name, "churn@1.0.0"), MLP, p="mlp", q=f"{name}.y"))
    assert f"{NODES}[0].name" in {violation.field for violation in error.violations}


def test_what_follows_from_the_graph_is_not_given() -> None:
    """It could not act."""
    given = version()
    error = refusal(graph(MLP, p="mlp"), signature=given.signature, bindings=given.bindings)
    assert ["version.signature", "version.bindings"] == [violation.field for violation in error.violations]
    assert "leave it out" in error.message
