"""Snapshots as routing tables: cheap to renew, and never broken by one definition."""

from __future__ import annotations

import gc
import logging
import math
import weakref
from typing import Any

import pytest

from predictmesh.features.v1.features_service_pb2 import FeaturePlan
from predictmesh.registry.v1 import endpoint_pb2, model_pb2
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.gateway.convert_snapshot import TableBuilder
from services.gateway.graph.nodes import ModelNode
from services.gateway.routing import RoutingTable
from services.gateway.target import Target
from tests.support.predictions import endpoint, snapshot, version, view
from tests.worlds.graphs import ensemble, graph, node

RIDER = view("rider", "a:FP32", "b:FP32:3")
ROUTE = view("route", "d:FP32", origin="STRING", dest="STRING")
BOUND = {"x:FP32:4": ["rider:a", "rider.age", "hour", "route:d"]}


def the_target(table: RoutingTable) -> Target:
    """Return the target of endpoint m."""
    return table.endpoint("m").default.target


def test_unchanged_versions_keep_their_targets() -> None:
    """New views, other versions, aliases and endpoints leave a version alone, so that its requests travel on together."""
    tables, first = TableBuilder(), version(BOUND)
    before = the_target(tables.build(snapshot(RIDER, ROUTE, versions=[first])))
    second = version({"x:FP32": ["day"]}, number="2.0.0", digest="e")
    newer = snapshot(view("new", "z:FP32"), ROUTE, RIDER, versions=[second, first], live="1.0.0", revision=2)
    assert before is the_target(tables.build(newer))


@pytest.mark.parametrize("change", ["schema", "digest", "log"])
def test_changed_versions_get_new_targets(change: str) -> None:
    """A view with another schema, a version registered anew, or a registry started anew on empty storage."""
    tables = TableBuilder()
    before = the_target(tables.build(snapshot(RIDER, ROUTE, versions=[version(BOUND)])))
    rider = view("rider", "a:FP32", "b:FP32:3", schema_id=2) if change == "schema" else RIDER
    newer = snapshot(rider, ROUTE, versions=[version(BOUND, digest="e" if change == "digest" else "d")])
    newer.log_id = "other" if change == "log" else "log"
    assert before is not the_target(tables.build(newer))


def test_targets_that_are_gone_are_forgotten() -> None:
    """The builder remembers one snapshot, however many there were."""
    tables = TableBuilder()
    before = weakref.ref(the_target(tables.build(snapshot(RIDER, ROUTE, versions=[version(BOUND, digest="1")]))))
    tables.build(snapshot(RIDER, ROUTE, versions=[version(BOUND, digest="2")]))
    gc.collect()
    assert before() is None


def test_endpoint_without_a_version_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the others answer."""
    routes = {
        "gone": endpoint_pb2.Route(version="9.9.9"),
        "lost": endpoint_pb2.Route(alias="nobody"),
        "none": endpoint_pb2.Route(),
        "m": endpoint_pb2.Route(version="1.0.0"),
    }
    endpoints = [endpoint_pb2.Endpoint(name=name, model="m", route=route) for name, route in routes.items()]
    endpoints.append(endpoint_pb2.Endpoint(name="stray", model="no such", route=routes["m"]))
    with caplog.at_level(logging.ERROR):
        table = TableBuilder().build(snapshot(RIDER, ROUTE, versions=[version(BOUND)], endpoints=endpoints))
    assert ["m"] == list(table.endpoints)
    assert 4 == len(caplog.records)


def test_endpoint_that_cannot_be_read_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Nor does what no registry of today would let through take the others with it."""
    endpoints = [endpoint([("1.0.0", math.nan), ("1.0.0", 50)], "broken"), endpoint({"version": "1.0.0"})]
    table = TableBuilder().build(snapshot(RIDER, ROUTE, versions=[version(BOUND)], endpoints=endpoints))
    assert ["m"] == list(table.endpoints)
    assert "cannot be used" in caplog.text


def test_number_of_another_kind_is_in_no_range() -> None:
    """A newer registry may have such versions: they answer whoever names them."""
    numbers = ("1.0.0", "1.1.0-rc.1", "1.1")
    versions = [version(BOUND, number=number, digest=number) for number in numbers]
    defined = snapshot(RIDER, ROUTE, versions=versions, endpoints=[endpoint({"range": "1.x"})], released=numbers)
    made = TableBuilder().build(defined).endpoint("m")
    assert "1.0.0" == made.default.target.version
    assert [*numbers, "1.0.0"] == [made.choose(pin, "p", []).target.version for pin in (*numbers, "1.x")]


def _unknown_type() -> Any:
    made = version({"x:FP32": ["hour"]}, number="2.0.0")
    made.signature.inputs[0].data_type = 99
    return made


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(version({"x:FP32": ["nowhere:a"]}, number="2.0.0"), id="view"),
        pytest.param(version({"x:FP32": ["rider:z"]}, number="2.0.0"), id="field"),
        pytest.param(version({"x:FP32": ["nowhere.age"]}, number="2.0.0"), id="age"),
        pytest.param(_unknown_type(), id="data type"),
    ],
)
def test_version_that_cannot_be_used_is_left_out(broken: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A version that names what is not there, or what only a newer gateway knows, takes nothing else with it."""
    versions = [version(BOUND), broken]
    table = TableBuilder().build(snapshot(RIDER, ROUTE, versions=versions, live="1.0.0", next="2.0.0"))
    versions_of = table.endpoint("m").versions
    assert (["1.0.0"], ["live"]) == (list(versions_of.targets), list(versions_of.aliases))
    assert "cannot be used" in caplog.text


def composed(*inputs: str, digest: str = "c", number: str = "9.0.0") -> Any:
    """A version composed of m 1.0.0 and of n 1.0.0, with these inputs, all bound alike; else those that m and n have."""
    bound = dict.fromkeys(inputs or ("p.x:FP32:4", "q.x:FP32:4"), BOUND["x:FP32:4"])
    made = version(bound, number=number, digest=digest)
    nodes = (node("p", "m@1.0.0"), node("q", "n@1.0.0"), ensemble("both", "MEAN", ["p", "q"]))
    made.graph.CopyFrom(graph(*nodes, y="both"))
    return made


def with_n(*versions: Any, digest: str | None = "n", rider: Any = RIDER, **parts: Any) -> Snapshot:
    """A snapshot of m with a version of its own, besides these, and n with one of this digest, if any."""
    made = snapshot(rider, ROUTE, versions=[version(BOUND), *versions], **parts)
    of_n = [version(BOUND, digest=digest)] if digest else []
    # Behind what is composed of it.
    made.models.append(model_pb2.Model(name="n", versions=of_n))
    made.endpoints.append(endpoint_pb2.Endpoint(name="n", model="n", route=endpoint_pb2.Route(version="1.0.0")))
    return made


def the_composed(table: RoutingTable, number: str = "9.0.0") -> Target:
    """Return the composed target."""
    return table.endpoint("m").versions.targets[number]


def test_composed_version_is_made_of_the_versions_that_answer_themselves() -> None:
    """Of whatever model: they are known to the model service by their own name, and travel as they are."""
    table = TableBuilder().build(with_n(composed()))
    aim = the_composed(table)
    assert aim.graph is not None
    nodes = [each.target for each in aim.graph.nodes if isinstance(each, ModelNode)]
    assert [the_target(table), table.endpoint("n").default.target] == nodes
    assert ["1.0.0", "9.0.0"] == list(table.endpoint("m").versions.targets)
    assert (("m", "9.0.0", "c"), ["y"]) == ((aim.model, aim.version, aim.digest), [each.name for each in aim.outputs])


def test_nodes_share_what_they_take_alike() -> None:
    """It is read, packed and brought once; what differs in type, shape or finiteness is not the same."""
    models = {"m": ["x:FP32:4"], "n": ["x:FP32:4", "y:FP32:4:finite", "z:FP32:2:2"]}
    made = Snapshot(revision=1, log_id="log", feature_views=[RIDER, ROUTE])
    for name, inputs in models.items():
        made.models.add(name=name, versions=[version(dict.fromkeys(inputs, BOUND["x:FP32:4"]))])
    made.models[0].versions.append(composed("p.x:FP32:4", *(f"q.{name}" for name in models["n"])))
    made.endpoints.append(endpoint({"version": "9.0.0"}))
    aim = the_composed(TableBuilder().build(made))
    assert [("p.x", 0), ("q.y", 1), ("q.z", 2)] == [(feed.name, feed.plan_index) for feed in aim.inputs]
    assert isinstance(aim.plan, FeaturePlan)
    assert ["p.x", "q.y", "q.z"] == [tensor.name for tensor in aim.plan.tensors]
    assert aim.graph is not None
    assert [(0,), (0, 1, 2)] == [each.feeds for each in aim.graph.nodes if isinstance(each, ModelNode)]
    assert 3 == len(aim.overridable["hour"])


def test_versions_of_artifacts_share_nothing() -> None:
    """A model takes each of its inputs."""
    table = TableBuilder().build(snapshot(RIDER, ROUTE, versions=[version(BOUND | {"y:FP32:4": BOUND["x:FP32:4"]})]))
    assert [("x", 0), ("y", 1)] == [(feed.name, feed.plan_index) for feed in the_target(table).inputs]


def test_composed_versions_keep_their_targets() -> None:
    """As long as they and their nodes are as before, whatever becomes of others."""
    tables = TableBuilder()
    before = the_composed(tables.build(with_n(composed())))
    for newer in (
        with_n(composed()),
        with_n(composed(), version(BOUND, number="2.0.0", digest="e"), live="9.0.0"),
        with_n(composed(), composed(number="9.1.0", digest="f")),
    ):
        assert before is the_composed(tables.build(newer))


@pytest.mark.parametrize("change", ["schema", "digest", "node"])
def test_composed_versions_are_made_anew(change: str) -> None:
    """Also if nothing has changed of their own model, but a version of another that they are made of."""
    tables = TableBuilder()
    before = the_composed(tables.build(with_n(composed())))
    rider = view("rider", "a:FP32", "b:FP32:3", schema_id=2) if change == "schema" else RIDER
    newer = with_n(
        composed(digest="d" if change == "digest" else "c"), digest="o" if change == "node" else "n", rider=rider
    )
    table = tables.build(newer)
    after = the_composed(table)
    assert before is not after
    assert after.graph is not None
    assert table.endpoint("n").default.target in [
        each.target for each in after.graph.nodes if isinstance(each, ModelNode)
    ]


def test_composed_version_without_a_node_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, others answer, and it is there again with its node."""
    tables = TableBuilder()
    whole, lacking = with_n(composed()), with_n(composed(), digest=None)
    numbers = [list(tables.build(each).endpoint("m").versions.targets) for each in (whole, lacking, lacking, whole)]
    assert [["1.0.0", "9.0.0"], ["1.0.0"], ["1.0.0"], ["1.0.0", "9.0.0"]] == numbers
    assert 1 == [each.message for each in caplog.records].count("a version cannot be used")


def test_composed_version_of_a_composed_one_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing knows how to compute it."""
    outer = composed(number="9.1.0", digest="o")
    outer.graph.nodes[0].model.version = "9.0.0"
    table = TableBuilder().build(with_n(composed(), outer))
    assert ["1.0.0", "9.0.0"] == list(table.endpoint("m").versions.targets)
    assert "cannot be used" in caplog.text


def test_composed_targets_that_are_gone_are_forgotten() -> None:
    """With the nodes of before."""
    tables = TableBuilder()
    table = tables.build(with_n(composed()))
    before = [weakref.ref(the_composed(table)), weakref.ref(table.endpoint("n").default.target)]
    del table
    tables.build(with_n(composed(), digest="o"))
    gc.collect()
    assert [None, None] == [each() for each in before]


def test_default_out_of_range_takes_nothing_else_with_it(caplog: pytest.LogCaptureFixture) -> None:
    """Such a number fits no type of the gateway."""
    labels = version({"x:FP32": ["hour"]}, outputs=["label:UINT8:1"])
    whole = version({"p.x:FP32": ["hour"]}, outputs=["label:UINT8:1"], number="9.0.0", digest="c")
    whole.graph.CopyFrom(graph(node("p", "m@1.0.0", optional=True, defaults={"label": [300]}), label="p"))
    table = TableBuilder().build(snapshot(RIDER, versions=[labels, whole]))
    assert ["1.0.0"] == list(table.endpoint("m").versions.targets)
    assert "cannot be used" in caplog.text
