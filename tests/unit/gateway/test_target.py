"""What is resolved once per snapshot, so that requests need not."""

from __future__ import annotations

import numpy as np
import pytest

from services.gateway.target import DType
from tests.support.predictions import target, view

RIDER = view("rider", "trips:FP32", "tags:BYTES:2")


def test_where_requests_may_put_values() -> None:
    """A stored field can be overridden by its name, a request source must be brought, and an age is the platform's own."""
    aim = target({"x:FP32:3": ["rider:trips", "rider.age", "hour"], "t:BYTES:2": ["rider:tags"]}, RIDER)
    assert {"rider:trips", "hour", "rider:tags"} == set(aim.overridable)
    assert ["hour"] == list(aim.required)


def test_one_name_may_feed_several_places() -> None:
    """A field that two inputs take is overridden in both."""
    aim = target({"a:FP32": ["rider:trips"], "b:FP32:2": ["hour", "rider:trips"]}, RIDER)
    assert [(0, 0), (1, 1)] == [(index, source.offset) for index, source in aim.overridable["rider:trips"]]


def test_key_columns_by_name() -> None:
    """Columns come in any order and are put into the target's."""
    route = view("route", "delay:FP32", origin="STRING", dest="STRING")
    assert {"origin": 0, "dest": 1} == target({"x:FP32": ["route:delay"]}, route).key_index


def test_equal_targets_are_different() -> None:
    """A lane belongs to one target, so two that look alike must not be taken for each other."""
    made = [target({"x:FP32": ["rider:trips"]}, RIDER) for _ in range(2)]
    assert made[0] != made[1]


@pytest.mark.parametrize("dtype", DType, ids=lambda dtype: dtype.name)
def test_every_type_has_an_array_type(dtype: DType) -> None:
    """Arrays are little-endian, as the wire is; BYTES are Python objects."""
    made = np.dtype(dtype.numpy)
    if dtype is DType.BYTES:
        assert np.dtype(object) == made
    else:
        assert made.newbyteorder("<") == made


@pytest.mark.parametrize(
    ("kind", "has_null"), [("FP16", True), ("FP32", True), ("FP64", True), ("FP32:finite", False), ("INT64", False)]
)
def test_what_has_a_null(kind: str, *, has_null: bool) -> None:
    """Only a float that may be NaN can be left out of a request."""
    assert has_null is target({f"x:{kind}": ["x"]}).inputs[0].has_null
