"""Snapshots as routing tables: cheap to renew, and never broken by one definition."""

from __future__ import annotations

import gc
import logging
import math
import weakref
from typing import Any

import pytest

from predictmesh.registry.v1 import endpoint_pb2
from services.gateway.convert_snapshot import TableBuilder
from services.gateway.routing import RoutingTable
from services.gateway.target import Target
from tests.support.predictions import endpoint, snapshot, version, view

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
