"""Which rows the stages of a cascade are asked about, and what may be absent."""

from __future__ import annotations

import math

import pytest

from predictmesh.registry.v1.graph_pb2 import Graph as PbGraph
from services.registry.convert import decode, encode
from services.registry.definitions import Graph
from tests.support.graphs import graph, stage
from tests.unit.registry.graphs.refusing import MLP, NODES, TREES, Case, cases, check_refused, refusal
from tests.worlds.graphs import cascade, ensemble, node

SPARE, LAST = node("spare", "churn@1.0.0", optional=True), node("last", "churn@1.0.0", optional=True)


@pytest.mark.parametrize(
    ("confidence", "measure", "threshold", "least"),
    [
        ("", "UNSPECIFIED", 0.5, "more than 0.5"),
        ("", "PROBABILITY", 1.01, "more than 0.5, at most 1"),
        ("", "UNSPECIFIED", math.nan, "nan is no threshold"),
        ("", "UNSPECIFIED", 0.0, "0 is no threshold"),
        ("pair", "UNSPECIFIED", 0.5, "more than 0.5"),
        ("", "VALUE", math.nan, "nan is no threshold"),
        ("", "VALUE", math.inf, "inf is no threshold"),
    ],
)
def test_a_threshold_parts_the_rows(confidence: str, measure: str, threshold: float, least: str) -> None:
    """One that every answer reaches, or none, would part nothing."""
    first = stage("mlp", threshold, confidence, measure)
    extra = (node("pair", "pair@1.0.0"),) if confidence else ()
    given = graph(MLP, TREES, *extra, cascade("sure", first, "trees"), p="sure")
    check_refused(given, f"{NODES}[{2 + len(extra)}].cascade.stages[0].threshold", least)


def test_a_measure_of_a_newer_release_is_not_taken_for_a_probability() -> None:
    """What is not known here is refused."""
    wire = PbGraph()
    encode(graph(MLP, TREES, cascade("sure", ("mlp", 0.8), "trees"), p="sure"), wire)
    wire.nodes[2].cascade.stages[0].measure = 99  # type: ignore[assignment]  # a newer client's
    check_refused(decode(wire, Graph), f"{NODES}[2].cascade.stages[0].measure", "a measure is PROBABILITY or VALUE")


STAGES: dict[str, Case] = {
    "a stage that an earlier one takes": (
        graph(
            MLP, TREES, ensemble("both", "MEAN", ["mlp", "trees.y"]), cascade("sure", ("both", 0.8), "trees"), p="sure"
        ),
        f"{NODES}[2].ensemble.members[1].source",
        "trees.y -> both: trees is asked only about rows that the stages before it in sure are not sure of",
    ),
    "a stage that an earlier confidence is of": (
        graph(MLP, TREES, cascade("sure", stage("mlp", 0.8, "trees.z"), "trees"), p="sure"),
        f"{NODES}[2].cascade.stages[0].confidence",
        "trees.z -> sure (confidence): trees is asked only about rows",
    ),
    "a stage that is an output": (
        graph(MLP, TREES, cascade("sure", ("mlp", 0.8), "trees"), p="sure", q="trees.z"),
        "version.graph.outputs[1].source",
        "trees.z -> output q: trees is asked only about rows",
    ),
    "a stage that a node after the cascade takes": (
        graph(
            MLP,
            TREES,
            cascade("sure", ("mlp", 0.8), "trees"),
            node("post", "post@1.0.0", {"p": "sure", "q": "trees.z"}),
            p="post",
        ),
        f"{NODES}[3].model.inputs[1].sources[0]",
        "trees.z -> post.q: trees is asked only about rows",
    ),
    "a node twice": (
        graph(MLP, TREES, cascade("sure", ("mlp", 0.8), ("trees", 0.8), "mlp"), p="sure"),
        f"{NODES}[2].cascade.stages[2].node",
        "'mlp' is there twice",
    ),
    "two cascades": (
        graph(
            MLP,
            TREES,
            cascade("sure", ("mlp", 0.8), "trees"),
            cascade("surer", ("mlp", 0.8), "trees"),
            p="sure",
            q="surer",
        ),
        f"{NODES}[3].cascade",
        "a graph has one cascade, and sure is: put the stages of surer into it",
    ),
}


@cases(STAGES)
def test_a_later_stage_is_asked_only_where_the_earlier_ones_are_not_sure(given: Graph, field: str, text: str) -> None:
    """So nothing else can need it."""
    check_refused(given, field, text)


def test_a_stage_twice_is_one_fault() -> None:
    """It is the earlier one by which rows are parted."""
    error = refusal(
        graph(MLP, node("other", "churn@1.0.0"), cascade("sure", ("mlp", 0.8), ("other", 0.8), "mlp"), p="sure")
    )
    assert [f"{NODES}[2].cascade.stages[2].node"] == [violation.field for violation in error.violations]


ABSENCE: dict[str, Case] = {
    "a model's input": (
        graph(SPARE, node("post", "post@1.0.0", {"p": "spare"}), p="post"),
        f"{NODES}[1].model.inputs[0].sources[0]",
        "spare -> post.p: spare may be absent, as spare is optional without defaults: give it defaults",
    ),
    "an output": (
        graph(SPARE, p="spare"),
        "version.graph.outputs[0].source",
        "spare -> output p: spare may be absent",
    ),
    "an ensemble of nothing else": (
        graph(SPARE, LAST, ensemble("both", "MEAN", ["spare", "last"]), p="both"),
        "version.graph.outputs[0].source",
        "both may be absent, as spare is optional without defaults and last is optional without defaults",
    ),
    "a cascade of nothing else": (
        graph(MLP, SPARE, LAST, cascade("sure", stage("spare", 0.8, "mlp"), "last"), p="sure"),
        "version.graph.outputs[0].source",
        "sure may be absent",
    ),
}


@cases(ABSENCE)
def test_nothing_takes_from_what_may_be_absent(given: Graph, field: str, text: str) -> None:
    """But ensembles, which leave it out, and cascades, which pass it over."""
    check_refused(given, field, text)
