"""What follows from a graph: inputs, outputs, bindings, and all that may be left unsaid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from predictmesh.types.v1.tensor_pb2 import Tensor as PbTensor
from services.mesh.errors import MeshError
from services.registry.binding import check_binding, keys_of, requests_of, views_of
from services.registry.catalog import Catalog, check_catalog
from services.registry.definitions import (
    CascadeStage,
    ConfidenceMeasure,
    DataType,
    Graph,
    InputBinding,
    Port,
    TensorSpec,
    Version,
)
from services.registry.faults import Faults
from tests.support.definitions import column, spec
from tests.support.graphs import catalog_of_nodes, composed_in, graph, stage
from tests.unit.registry.graphs.refusing import MLP, POST, TREES
from tests.worlds.graphs import cascade, ensemble, node


def composition(given: Graph) -> Version:
    """The version that follows from a good graph."""
    return composed_in(catalog_of_nodes(), given)


def outputs(given: Graph) -> tuple[TensorSpec, ...]:
    """The outputs that follow from a good graph."""
    return composition(given).signature.outputs


def test_inputs_are_those_that_no_node_feeds() -> None:
    """In the order of the nodes, each bound as the node's version is."""
    made = composition(graph(POST, MLP, p="post"))
    assert [("post.q", ()), ("mlp.x", (4,))] == [(each.name, each.shape) for each in made.signature.inputs]
    (post,) = catalog_of_nodes().models["post"].versions
    (mlp, _) = catalog_of_nodes().models["churn"].versions
    assert (
        InputBinding("post.q", post.bindings[1].sources),
        InputBinding("mlp.x", mlp.bindings[0].sources),
    ) == made.bindings


def test_callers_are_asked_for_what_the_nodes_take() -> None:
    """Once, however many nodes take it; not for what nodes feed."""
    made, catalog = (
        composition(graph(MLP, TREES, POST, ensemble("both", "MEAN", ["post", "trees.y"]), p="both")),
        catalog_of_nodes(),
    )
    assert {"hour", "q"} == requests_of(made).keys()
    assert {"rider_id"} == keys_of(made, catalog.views).keys()
    assert {"rider_stats"} == views_of(made)
    faults = Faults()
    check_binding(made, catalog.views, "", faults)
    assert not faults


def test_the_same_version_may_be_two_nodes() -> None:
    """Each with inputs of its own."""
    made = composition(graph(POST, MLP, node("again", "post@1.0.0", {"p": "post"}), p="again"))
    assert ["post.q", "mlp.x", "again.q"] == [each.name for each in made.signature.inputs]


def test_outputs_are_named_by_the_graph() -> None:
    """In its order; type, shape and finiteness are of what they come from."""
    given = graph(MLP, POST, node("wide", "wide@1.0.0"), rows="wide", p="post", raw="mlp.y")
    assert (spec("rows", shape=(3, 2)), spec("p", finite=True), spec("raw")) == outputs(given)


def test_an_ensemble_is_named_as_its_first_member_and_finite() -> None:
    """A member that is not finite counts as failed."""
    assert (spec("p", finite=True),) == outputs(
        graph(MLP, TREES, ensemble("both", "MEAN", ["mlp", "trees.z"]), p="both.y")
    )
    votes = graph(node("a", "label@1.0.0"), node("b", "label@1.0.0"), ensemble("both", "VOTE", ["a", "b"]), l="both")
    assert (spec("l", DataType.INT64),) == outputs(votes)


def test_a_cascade_is_finite_where_every_stage_is() -> None:
    """Its outputs are those of the first."""
    first = node("first", "post@1.0.0", {"p": "mlp"})
    last = node("last", "post@1.0.0", {"p": "trees.z"})
    both = ensemble("both", "MEAN", ["first", "mlp"])
    assert (spec("p", finite=True),) == outputs(
        graph(MLP, TREES, first, last, cascade("sure", ("first", 0.8), "last"), p="sure")
    )
    assert (spec("p"),) == outputs(graph(MLP, TREES, cascade("sure", ("mlp", 0.8), "trees"), p="sure.y"))
    assert (spec("p", finite=True),) == outputs(
        graph(MLP, first, both, cascade("sure", ("first", 0.8), "both"), p="sure")
    )


def test_every_port_and_measure_is_said() -> None:
    """So that both ways of saying it are one version."""
    short = graph(
        MLP, TREES, POST, cascade("sure", stage("mlp"), "trees"), ensemble("both", "MEAN", ["sure", "post"]), p="both"
    )
    long = graph(
        MLP,
        TREES,
        node("post", "post@1.0.0", {"p": "mlp.y"}),
        cascade("sure", stage("mlp", 0.8, "mlp.y", "PROBABILITY"), "trees"),
        ensemble("both", "MEAN", ["sure.y", "post.p"]),
        p="both.y",
    )
    assert long == composition(short).graph == composition(long).graph
    assert composition(short) == composition(long)


def test_a_last_stage_says_no_more_than_its_node() -> None:
    """Its answer stands, however sure it is."""
    made = composition(graph(MLP, TREES, cascade("sure", stage("mlp", 2.5, measure="VALUE"), "trees"), p="sure")).graph
    assert made
    assert made.nodes[2].cascade
    assert (
        CascadeStage("mlp", Port("mlp", "y"), ConfidenceMeasure.VALUE, 2.5),
        CascadeStage("trees"),
    ) == made.nodes[2].cascade.stages


def test_defaults_have_the_type_and_shape_of_the_outputs() -> None:
    """And their order, however they were written."""
    given = {"z": [1], "y": PbTensor(name="y", doubles=[0.25])}
    made = composition(graph(node("trees", "churn@2.0.0", optional=True, defaults=given), p="trees.y")).graph
    assert made
    assert made.nodes[0].model
    assert (
        column("y", data_type=DataType.FP32, shape=(1,), floats=(0.25,)),
        column("z", data_type=DataType.FP32, shape=(1,), floats=(1.0,)),
    ) == made.nodes[0].model.defaults


def test_a_default_may_be_the_largest_number() -> None:
    """Which is a little larger as the shortest number of single precision; it is read so from the log."""
    given = graph(
        node("mlp", "churn@1.0.0", optional=True, defaults={"y": PbTensor(name="y", doubles=[3.4028234663852886e38])}),
        p="mlp",
    )
    made = composition(given)
    assert made.graph
    assert made == composition(made.graph)


def test_a_default_is_none_that_rounds_to_infinity() -> None:
    """In the output's type."""
    with pytest.raises(MeshError, match="takes finite values of FP32"):
        composition(
            graph(
                node("mlp", "churn@1.0.0", optional=True, defaults={"y": PbTensor(name="y", doubles=[3.403e38])}),
                p="mlp",
            )
        )


SPARE = node("spare", "churn@1.0.0", optional=True)
GOOD = {
    "a stage of an ensemble with the first": graph(
        MLP, TREES, ensemble("both", "MEAN", ["mlp", "trees.y"]), cascade("sure", ("mlp", 0.8), "both"), p="sure"
    ),
    "three stages, of which the last takes the others": graph(
        MLP,
        TREES,
        ensemble("both", "WEIGHTED_MEAN", {"mlp": 1, "trees.y": 3}),
        cascade("sure", ("mlp", 0.8), stage("trees", 0.9, "trees.y"), "both"),
        p="sure",
    ),
    "a confidence of a node beside the stage": graph(
        MLP, TREES, POST, cascade("sure", stage("mlp", 0.9, "post"), "trees"), p="sure"
    ),
    "the first stage as an output": graph(MLP, TREES, cascade("sure", stage("mlp"), "trees"), p="sure", first="mlp"),
    "an ensemble with the cascade": graph(
        MLP, TREES, cascade("sure", stage("mlp"), "trees"), ensemble("more", "MEAN", ["sure", "mlp"]), p="more"
    ),
    "an optional member": graph(MLP, SPARE, ensemble("both", "MEAN", ["mlp", "spare"]), p="both"),
    "an optional stage": graph(MLP, SPARE, cascade("sure", ("spare", 0.8), "mlp"), p="sure"),
    "an optional last stage": graph(MLP, SPARE, cascade("sure", ("mlp", 0.8), "spare"), p="sure"),
    "an optional node with defaults": graph(
        node("spare", "churn@1.0.0", optional=True, defaults={"y": [0.5]}),
        node("post", "post@1.0.0", {"p": "spare"}),
        p="post",
    ),
    "an input of two outputs": graph(MLP, TREES, node("pair", "pair@1.0.0", {"p": ["mlp", "trees.z"]}), p="pair"),
    "an input of one output twice": graph(MLP, node("pair", "pair@1.0.0", {"p": ["mlp", "mlp"]}), p="pair"),
    "the largest label": graph(
        node("a", "label@1.0.0"), node("b", "label@1.0.0"), ensemble("both", "MAX", ["a", "b"]), p="both"
    ),
    "a vote of words": graph(
        node("a", "word@1.0.0"), node("b", "word@1.0.0"), ensemble("both", "VOTE", ["a", "b"]), p="both"
    ),
    "a cascade of words": graph(
        MLP,
        node("a", "word@1.0.0"),
        node("b", "word@1.0.0"),
        cascade("sure", stage("a", 1.0, "mlp"), "b"),
        p="sure",
    ),
    "a negative threshold of a value": graph(
        MLP, TREES, cascade("sure", stage("mlp", -3.0, measure="VALUE"), "trees"), p="sure"
    ),
    "a threshold of several elements": graph(
        MLP, TREES, node("pair", "pair@1.0.0"), cascade("sure", stage("mlp", 0.51, "pair"), "trees"), p="sure"
    ),
}


@pytest.mark.parametrize("given", GOOD.values(), ids=GOOD.keys())
def test_a_graph_that_can_be_computed_is_taken(given: Graph) -> None:
    """Though it looks like one that cannot; it stays as it is when it is composed once more."""
    made = composition(given)
    assert made.graph
    assert made == composition(made.graph)


def catalog_with(version: Version) -> Catalog:
    """The catalog with one more version of churn."""
    catalog = catalog_of_nodes()
    churn = catalog.models["churn"]
    return catalog.with_model(replace(churn, versions=(*churn.versions, version)))


def check(catalog: Catalog) -> None:
    """Raise what is wrong with definitions from elsewhere."""
    faults = Faults()
    check_catalog(catalog, faults)
    faults.check()


def test_what_comes_from_elsewhere_is_what_follows_from_the_graph() -> None:
    """A backup that says otherwise is none."""
    made = composition(graph(MLP, TREES, cascade("sure", stage("mlp"), "trees"), p="sure"))
    check(catalog_with(made))
    signature = replace(made.signature, outputs=(spec("p", finite=True),))
    wrong: dict[str, Any] = {"signature": signature, "bindings": made.bindings[:1], "graph": graph(MLP, p="mlp")}
    for name, part in wrong.items():
        with pytest.raises(MeshError, match=r"models\[churn\].versions\[9.0.0\].* is not what follows from the graph"):
            check(catalog_with(replace(made, **{name: part})))


def test_what_comes_from_elsewhere_has_the_versions_of_its_nodes() -> None:
    """A log cannot have lost them."""
    catalog = catalog_with(composition(graph(MLP, p="mlp")))
    churn = catalog.models["churn"]
    with pytest.raises(MeshError, match=r"model churn has no version '1\.0\.0'"):
        check(catalog.with_model(replace(churn, versions=churn.versions[1:])))
