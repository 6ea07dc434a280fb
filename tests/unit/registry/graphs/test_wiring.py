"""Edges lead from nodes to outputs of the graph, without a way back and past no node."""

from __future__ import annotations

from services.registry.definitions import Graph
from tests.support.graphs import graph, stage
from tests.unit.registry.graphs.refusing import MLP, NODES, POST, TREES, Case, cases, check_refused, refusal
from tests.worlds.graphs import cascade, ensemble, node

WIRING: dict[str, Case] = {
    "a source that is not there": (
        graph(MLP, node("post", "post@1.0.0", {"p": "trees.y"}), p="post"),
        f"{NODES}[1].model.inputs[0].sources[0]",
        "trees.y -> post.p: there is no node 'trees', but mlp",
    ),
    "an output from nowhere": (
        graph(MLP, p="both"),
        "version.graph.outputs[0].source",
        "both -> output p: there is no node 'both'",
    ),
    "a stage that is not there": (
        graph(MLP, cascade("sure", ("mlp", 0.8), "trees"), p="sure"),
        f"{NODES}[1].cascade.stages[1].node",
        "trees -> sure: there is no node 'trees'",
    ),
    "a cycle of one": (
        graph(node("post", "post@1.0.0", {"p": "post"}), p="post"),
        f"{NODES}[0].model.inputs[0].sources[0]",
        "post -> post.p: closes the cycle post -> post",
    ),
    "a cycle of three": (
        graph(
            node("a", "post@1.0.0", {"p": "c"}),
            node("b", "post@1.0.0", {"p": "a"}),
            node("c", "post@1.0.0", {"p": "b"}),
            p="c",
        ),
        f"{NODES}[0].model.inputs[0].sources[0]",
        "c -> a.p: closes the cycle a -> b -> c -> a",
    ),
    "a cycle through a cascade": (
        graph(MLP, node("post", "post@1.0.0", {"p": "sure"}), cascade("sure", ("mlp", 0.8), "post"), p="sure"),
        f"{NODES}[2].cascade.stages[1].node",
        "post -> sure: closes the cycle sure -> post -> sure",
    ),
    "a confidence in what comes after": (
        graph(MLP, TREES, POST, cascade("sure", stage("mlp", 0.8, "sure.y"), "post"), p="sure"),
        f"{NODES}[3].cascade.stages[0].confidence",
        "sure.y -> sure (confidence): closes the cycle sure -> sure",
    ),
    "a dead end": (
        graph(MLP, POST, ensemble("both", "MEAN", ["mlp", "post"]), p="mlp"),
        f"{NODES}[2]",
        "both is of no use, as no output of the graph is computed from it",
    ),
    "the way to a dead end": (
        graph(MLP, POST, ensemble("both", "MEAN", ["mlp", "post"]), p="mlp"),
        f"{NODES}[1]",
        "post is of no use",
    ),
}


@cases(WIRING)
def test_edges_lead_from_nodes_to_outputs(given: Graph, field: str, text: str) -> None:
    """Without a way back, and past no node."""
    check_refused(given, field, text)


def test_every_fault_is_told_at_once() -> None:
    """So that its author mends them in one go."""
    error = refusal(graph(MLP, TREES, node("post", "post@1.0.0", {"p": "mlp.z", "r": "mlp"}), p="post", q="mlp.z"))
    assert [
        f"{NODES}[1]",
        f"{NODES}[2].model.inputs[0].sources[0]",
        f"{NODES}[2].model.inputs[1].input",
        "version.graph.outputs[1].source",
    ] == [violation.field for violation in error.violations]
