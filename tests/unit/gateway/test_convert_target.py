"""Versions as targets: inputs laid out, keys, and feature plans that tell them apart."""

from __future__ import annotations

from typing import Any

import pytest

from predictmesh.features.v1.features_service_pb2 import FeaturePlan
from services.gateway.target import KeyColumn, Source, SourceKind
from tests.support.predictions import target, view

RIDER = view("rider", "a:FP32", "b:FP32:3")
ROUTE = view("route", "d:FP32", origin="STRING", dest="STRING")
BOUND = {"x:FP32:4": ["rider:a", "rider.age", "hour", "route:d"]}


def test_layout() -> None:
    """Sources lie one after another, lists by their length; inputs of requests alone are not in the plan."""
    aim = target(
        {"v:FP32:6": ["rider:b", "rider.age", "hour", "rider:a"], "w:INT64:2": ["pair"], "x:FP32": ["rider:a"]}, RIDER
    )
    assert (
        Source(SourceKind.FIELD, "rider:b", "rider", 0, 3),
        Source(SourceKind.AGE, "rider", "rider", 3, 1),
        Source(SourceKind.REQUEST, "hour", "", 4, 1),
        Source(SourceKind.FIELD, "rider:a", "rider", 5, 1),
    ) == aim.inputs[0].sources
    assert 2 == aim.inputs[1].sources[0].width
    assert [0, None, 1] == [feed.plan_index for feed in aim.inputs]


def test_plan() -> None:
    """The plan lists views by first use with their schema, and inputs with all of their sources."""
    aim = target(BOUND, ROUTE, RIDER)
    assert isinstance(aim.plan, FeaturePlan)
    assert [("rider", 1), ("route", 1)] == [(each.view, each.schema_id) for each in aim.plan.views]
    assert ("rider", "route") == aim.views
    assert [("x", 4)] == [(tensor.name, len(tensor.sources)) for tensor in aim.plan.tensors]
    assert 32 == len(aim.plan_id)


def test_no_plan_without_stored_values() -> None:
    """A version of request-time values alone asks for nothing and has no keys."""
    aim = target({"x:FP32": ["hour"]}, RIDER)
    assert (None, (), ()) == (aim.plan, aim.keys, aim.entities)


def test_keys_are_shared_by_name() -> None:
    """A column that several entities have is asked once; each entity knows its own."""
    leg = view("leg", "v:INT64", origin="STRING", flight="INT64")
    again = view("again", "w:FP32", entity="route", origin="STRING", dest="STRING")
    aim = target({"x:FP32:2": ["route:d", "again:w"], "y:INT64": ["leg:v"]}, ROUTE, leg, again)
    assert (
        KeyColumn("origin", is_int=False),
        KeyColumn("dest", is_int=False),
        KeyColumn("flight", is_int=True),
    ) == aim.keys
    assert ((0, 1), (0, 2)) == aim.entities


def plan_id(*views: Any, **bound: Any) -> bytes:
    """Return the plan id of a version."""
    return target(bound.get("bound", BOUND), *views).plan_id


def test_plan_id_is_stable() -> None:
    """The same definitions have the same id in every gateway, whatever else there is."""
    assert plan_id(RIDER, ROUTE) == plan_id(ROUTE, view("other", "z:FP32"), RIDER)
    also = BOUND | {"y:FP32": ["day"]}
    assert plan_id(RIDER, ROUTE) == plan_id(RIDER, ROUTE, bound=also)


@pytest.mark.parametrize(
    ("views", "bound"),
    [
        pytest.param((view("rider", "a:FP32", "b:FP32:3", schema_id=2), ROUTE), BOUND, id="schema"),
        pytest.param((RIDER, ROUTE), {"x:FP32:4": ["rider.age", "rider:a", "hour", "route:d"]}, id="order"),
        pytest.param((RIDER, ROUTE), {"z:FP32:4": BOUND["x:FP32:4"]}, id="tensor's name"),
        pytest.param((RIDER, ROUTE), {"x:FP64:4": BOUND["x:FP32:4"]}, id="type"),
        pytest.param((RIDER, ROUTE), {"x:FP32:3": ["rider:a", "rider.age", "route:d"]}, id="hole"),
    ],
)
def test_plan_id_tells_plans_apart(views: tuple[Any, ...], bound: dict[str, list[str]]) -> None:
    """Whatever changes the packed bytes changes the id."""
    assert plan_id(RIDER, ROUTE) != plan_id(*views, bound=bound)
