"""An edge carries what is taken, in type, number and shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from predictmesh.types.v1.tensor_pb2 import Tensor
from services.mesh.errors import Reason
from services.registry.definitions import Graph
from tests.support.graphs import graph, stage
from tests.unit.registry.graphs.refusing import MLP, NODES, TREES, Case, cases, check_refused, refusal
from tests.worlds.graphs import cascade, ensemble, node

TYPES: dict[str, Case] = {
    "no such output": (
        graph(MLP, node("post", "post@1.0.0", {"p": "mlp.z"}), p="post"),
        f"{NODES}[1].model.inputs[0].sources[0]",
        "mlp.z -> post.p: mlp has no output 'z', but y",
    ),
    "one of several outputs": (
        graph(TREES, node("post", "post@1.0.0", {"p": "trees"}), p="post"),
        f"{NODES}[1].model.inputs[0].sources[0]",
        "trees -> post.p: trees has several outputs: name one of y, z",
    ),
    "an output of the graph that is none": (
        graph(MLP, p="mlp.z"),
        "version.graph.outputs[0].source",
        "mlp.z -> output p: mlp has no output 'z', but y",
    ),
    "no such input": (
        graph(MLP, node("post", "post@1.0.0", {"r": "mlp"}), p="post"),
        f"{NODES}[1].model.inputs[0].input",
        "post@1.0.0 has no input 'r', but p, q",
    ),
    "another type": (
        graph(node("exact", "exact@1.0.0"), node("post", "post@1.0.0", {"p": "exact"}), p="post"),
        f"{NODES}[1].model.inputs[0].sources[0]",
        "exact -> post.p: gives FP64, and post.p takes FP32",
    ),
    "too few elements": (
        graph(MLP, node("pair", "pair@1.0.0", {"p": "mlp"}), p="pair"),
        f"{NODES}[1].model.inputs[0].sources",
        "mlp -> pair.p: gives 1 elements, and a row of p [2] takes 2",
    ),
    "too many elements": (
        graph(MLP, TREES, node("pair", "pair@1.0.0", {"p": ["mlp", "trees.y", "trees.z"]}), p="pair"),
        f"{NODES}[2].model.inputs[0].sources",
        "mlp, trees.y, trees.z -> pair.p: gives 3 elements, and a row of p [2] takes 2",
    ),
    "rows the other way round": (
        graph(node("wide", "wide@1.0.0"), node("more", "wide@1.0.0", {"m": "wide"}), p="more"),
        f"{NODES}[1].model.inputs[0].sources[0]",
        "wide -> more.m: gives [3, 2] a row, and m takes [2, 3]",
    ),
    "members of two types": (
        graph(MLP, node("exact", "exact@1.0.0"), ensemble("both", "MEAN", ["mlp", "exact"]), p="both"),
        f"{NODES}[2].ensemble.members[1].source",
        "exact -> both: gives FP64[], and mlp, the first member, FP32[]",
    ),
    "members of two shapes": (
        graph(MLP, node("pair", "pair@1.0.0"), ensemble("both", "MEAN", ["mlp", "pair"]), p="both"),
        f"{NODES}[2].ensemble.members[1].source",
        "pair -> both: gives FP32[2], and mlp, the first member, FP32[]",
    ),
    "a member twice": (
        graph(MLP, TREES, ensemble("both", "MEAN", ["mlp", "trees.y", "mlp.y"]), p="both"),
        f"{NODES}[2].ensemble.members[2].source",
        "mlp.y -> both: is a member already",
    ),
    "a vote of numbers with a point": (
        graph(MLP, TREES, ensemble("both", "VOTE", ["mlp", "trees.y"]), p="both"),
        f"{NODES}[2].ensemble.members[0].source",
        "mlp -> both: gives FP32[], and a VOTE is of labels",
    ),
    "a mean of labels": (
        graph(node("a", "label@1.0.0"), node("b", "label@1.0.0"), ensemble("both", "MEAN", ["a", "b"]), p="both"),
        f"{NODES}[2].ensemble.members[0].source",
        "a MEAN is of FP16, FP32 or FP64",
    ),
    "the largest word": (
        graph(node("a", "word@1.0.0"), node("b", "word@1.0.0"), ensemble("both", "MAX", ["a", "b"]), p="both"),
        f"{NODES}[2].ensemble.members[0].source",
        "a MAX is of numbers",
    ),
    "a stage without an output": (
        graph(MLP, TREES, cascade("sure", stage("trees", 0.9, "mlp"), "mlp"), p="sure.y"),
        f"{NODES}[2].cascade.stages[1].node",
        "mlp -> sure: gives no output z, which trees, the first stage, does",
    ),
    "a stage of another type": (
        graph(MLP, node("exact", "exact@1.0.0"), cascade("sure", ("mlp", 0.8), "exact"), p="sure"),
        f"{NODES}[2].cascade.stages[1].node",
        "exact -> sure: gives y as FP64[], and mlp as FP32[]",
    ),
    "a confidence of labels": (
        graph(MLP, TREES, node("l", "label@1.0.0"), cascade("sure", stage("mlp", 0.8, "l"), "trees"), p="sure"),
        f"{NODES}[3].cascade.stages[0].confidence",
        "l -> sure (confidence): gives INT64, and a confidence is FP16, FP32 or FP64",
    ),
    "a value of two elements": (
        graph(
            MLP,
            TREES,
            node("pair", "pair@1.0.0"),
            cascade("sure", stage("mlp", 0.8, "pair", "VALUE"), "trees"),
            p="sure",
        ),
        f"{NODES}[3].cascade.stages[0].confidence",
        "gives 2 elements, and a VALUE is one",
    ),
    "a confidence of one of several outputs": (
        graph(TREES, node("more", "churn@2.0.0"), cascade("sure", ("trees", 0.8), "more"), p="sure.y"),
        f"{NODES}[2].cascade.stages[0].confidence",
        "trees -> sure (confidence): trees has several outputs: name one of y, z",
    ),
}


@cases(TYPES)
def test_an_edge_carries_what_is_taken(given: Graph, field: str, text: str) -> None:
    """In type, number and shape."""
    check_refused(given, field, text)


DEFAULTS: dict[str, tuple[Mapping[str, Any], str]] = {
    "not every output": ({"y": [0.5]}, ""),
    "no output": ({"y": [0.5], "z": [0.5], "w": [0.5]}, "[2].name"),
    "an output twice": ({"y": [0.5], "z": [0.5], "again": Tensor(name="y", floats=[0.5])}, "[2].name"),
    "two values": ({"y": [0.1, 0.2], "z": [0.5]}, "[0]"),
    "text": ({"y": ["a"], "z": [0.5]}, "[0]"),
    "not a number": ({"y": [math.nan], "z": [0.5]}, "[0]"),
    "too large a number": ({"y": Tensor(name="y", doubles=[1e39]), "z": [0.5]}, "[0]"),
}


@pytest.mark.parametrize(("given", "field"), DEFAULTS.values(), ids=DEFAULTS.keys())
def test_defaults_are_a_row_of_every_output(given: Mapping[str, Any], field: str) -> None:
    """Each of its type and shape."""
    error = refusal(graph(node("trees", "churn@2.0.0", optional=True, defaults=given), p="trees.y"))
    assert f"{NODES}[0].model.defaults{field}" in {violation.field for violation in error.violations}
    assert Reason.INVALID_DEFINITION is error.reason
