"""Faults of a whole request are found before any hop, each with a reason and the path of the field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.gateway.checks import MAX_KEY_BYTES
from services.gateway.request import Column, Member
from services.gateway.target import DType, Target
from services.mesh.errors import Code, MeshError, Reason
from tests.support.predictions import column, member, target, view

RIDER = view("rider", "trips:FP32", "seats:INT64", "tags:BYTES:2")
ROUTE = view("route", "delay:FP32", origin="STRING", dest="STRING")
BOTH = target({"x:FP32:2": ["rider:trips", "route:delay"]}, RIDER, ROUTE)
KEYS = (column("rider_id", "a", "b"), column("origin", "JFK", "LGA"), column("dest", "LAX", "SFO"))
INT_KEYED = target({"x:FP32": ["n:v"]}, view("n", "v:FP32", id="INT64", part="STRING"))


def refused(reason: Reason, path: str, aim: Target, *entities: Column, features: tuple[Column, ...] = ()) -> None:
    """Check that a request is refused with one violation."""
    with pytest.raises(MeshError) as caught:
        member(aim, *entities, features=features)
    assert (Code.INVALID_ARGUMENT, reason) == (caught.value.code, caught.value.reason)
    assert [path] == [violation.field for violation in caught.value.violations]


async def test_columns_come_in_any_order() -> None:
    """Keys are handed on in the target's order."""
    assert [["a", "b"], ["JFK", "LGA"], ["LAX", "SFO"]] == member(BOTH, *reversed(KEYS)).keys


@pytest.mark.parametrize("rows", [1, 256])
async def test_row_limits(rows: int) -> None:
    """1 and 256 rows are served."""
    aim = target({"x:FP32": ["rider:trips"]}, RIDER)
    assert rows == member(aim, column("rider_id", *["a"] * rows)).rows


@pytest.mark.parametrize(
    ("reason", "path", "keys"),
    [
        pytest.param(
            Reason.UNKNOWN_ENTITY, "entities[3].name", (*KEYS, column("driver", "x", "y")), id="unknown column"
        ),
        pytest.param(Reason.MISSING_KEY, "entities", KEYS[:2], id="missing column"),
        pytest.param(Reason.MISSING_KEY, "entities", (), id="no columns"),
        pytest.param(Reason.INVALID_ARGUMENT, "entities[3].name", (*KEYS, KEYS[1]), id="column twice"),
        pytest.param(
            Reason.MISSING_KEY, "entities[0].strings[1]", (column("rider_id", "a", ""), *KEYS[1:]), id="empty key"
        ),
        pytest.param(Reason.LENGTH_MISMATCH, "entities", (column("rider_id", "a"), *KEYS[1:]), id="uneven"),
        pytest.param(Reason.LENGTH_MISMATCH, "entities", (column("rider_id"), *KEYS[1:]), id="one without values"),
        pytest.param(Reason.TYPE_MISMATCH, "entities[0].ints", (column("rider_id", 1, 2), *KEYS[1:]), id="ints"),
        pytest.param(
            Reason.TYPE_MISMATCH, "entities[0].blobs", (column("rider_id", b"a", b"b"), *KEYS[1:]), id="blobs"
        ),
        pytest.param(
            Reason.MISSING_KEY,
            "entities[0].null_rows",
            (column("rider_id", "a", "b", nulls=[1]), *KEYS[1:]),
            id="null key",
        ),
        pytest.param(
            Reason.SHAPE_MISMATCH,
            "entities[0].shape",
            (column("rider_id", "a", "b", shape=[2, 1]), *KEYS[1:]),
            id="shape",
        ),
        pytest.param(
            Reason.ROWS_OUT_OF_RANGE,
            "entities",
            tuple(column(name) for name in ("rider_id", "origin", "dest")),
            id="0 rows",
        ),
        pytest.param(
            Reason.ROWS_OUT_OF_RANGE,
            "entities",
            tuple(column(name, *["a"] * 257) for name in ("rider_id", "origin", "dest")),
            id="257 rows",
        ),
    ],
)
async def test_bad_keys(reason: Reason, path: str, keys: tuple[Column, ...]) -> None:
    """Key columns that are unknown, missing, empty, uneven or of another type."""
    refused(reason, path, BOTH, *keys)


async def test_int_keys_are_not_text() -> None:
    """A column of integers takes no text, and 0 is a key like any other."""
    refused(Reason.TYPE_MISMATCH, "entities[0].strings", INT_KEYED, column("id", "1"), column("part", "a"))
    assert [[0], ["a"]] == member(INT_KEYED, column("id", 0), column("part", "a")).keys


@pytest.mark.parametrize("text", ["k" * MAX_KEY_BYTES, "é" * (MAX_KEY_BYTES // 2), "😀" * (MAX_KEY_BYTES // 4)])
async def test_key_length_is_counted_in_bytes(text: str) -> None:
    """A key of 256 bytes is the longest, whatever its characters."""
    aim = target({"x:FP32": ["rider:trips"]}, RIDER)
    assert member(aim, column("rider_id", text)).rows == 1
    refused(Reason.KEY_TOO_LONG, "entities[0].strings[1]", aim, column("rider_id", "a", text + "é"))


async def test_key_columns_count_together() -> None:
    """What one entity's columns have together is limited, as in the store; columns of different entities are not."""
    half = MAX_KEY_BYTES // 2
    keys = (column("rider_id", "r" * MAX_KEY_BYTES), column("origin", "o" * half), column("dest", "d" * half))
    assert member(BOTH, *keys).rows == 1
    refused(Reason.KEY_TOO_LONG, "entities[2].strings[0]", BOTH, *keys[:2], column("dest", "d" * (half + 1)))
    longest = "p" * (MAX_KEY_BYTES - 8)
    assert member(INT_KEYED, column("id", 2**63 - 1), column("part", longest)).rows == 1
    refused(Reason.KEY_TOO_LONG, "entities[1].strings[0]", INT_KEYED, column("id", 1), column("part", longest + "p"))


async def test_a_key_of_a_mebibyte() -> None:
    """It is refused like any that is too long."""
    aim = target({"x:FP32": ["rider:trips"]}, RIDER)
    refused(Reason.KEY_TOO_LONG, "entities[0].strings[0]", aim, column("rider_id", "k" * 2**20))


def one(of: str, *values: Any, **parts: Any) -> Member:
    """A request that brings `v` for an input of one kind."""
    return member(target({f"v:{of}": ["v"]}), features=[column("v", *values, **parts)])


def bad(reason: Reason, path: str, of: str, *values: Any, **parts: Any) -> None:
    """Check that `v` is refused with these values."""
    refused(reason, path, target({f"v:{of}": ["v"]}), features=(column("v", *values, **parts),))


_INTS = {
    DType.UINT8: (0, 2**8 - 1),
    DType.UINT16: (0, 2**16 - 1),
    DType.UINT32: (0, 2**32 - 1),
    DType.INT8: (-(2**7), 2**7 - 1),
    DType.INT16: (-(2**15), 2**15 - 1),
    DType.INT32: (-(2**31), 2**31 - 1),
}


@pytest.mark.parametrize("dtype", _INTS, ids=lambda dtype: dtype.name)
async def test_small_integers_do_not_wrap(dtype: DType) -> None:
    """The ends of the range are served as they are, what lies beyond is refused."""
    low, high = _INTS[dtype]
    assert [low, high] == one(dtype.name, low, high).overrides[0].values.ravel().tolist()
    for value in (low - 1, high + 1):
        bad(Reason.TYPE_MISMATCH, "features[0]", dtype.name, value)


@pytest.mark.parametrize(
    ("kind", "values", "filled"),
    [
        ("INT64", (-(2**63), 2**63 - 1), "ints"),
        ("UINT64", (0, 2**64 - 1), "uints"),
        ("UINT64", (0, 1), "ints"),
        ("BOOL", (True, False), "bools"),
        ("FP16", (0.5, -2.0), "floats"),
        ("FP32", (0.5, 1.5), "doubles"),
        ("FP32", (1, 2), "ints"),
        ("FP64", (1e300, -1e-300), "doubles"),
        ("BYTES", (b"\xff", b""), "blobs"),
    ],
)
async def test_every_type_takes_its_values(kind: str, values: tuple[Any, ...], filled: str) -> None:
    """Values arrive unchanged from each field of the tensor that fits the type."""
    assert list(values) == one(kind, *values, kind=filled).overrides[0].values.ravel().tolist()


async def test_text_is_bytes_in_utf8() -> None:
    """A BYTES input takes text."""
    assert ["é".encode()] == one("BYTES", "é").overrides[0].values.ravel().tolist()


@pytest.mark.parametrize(
    ("kind", "value"),
    [("FP32", "1"), ("INT64", 1.0), ("BOOL", 1), ("BYTES", 1), ("INT64", True), ("FP64", b"1"), ("INT64", "1")],
)
async def test_values_of_another_type(kind: str, value: Any) -> None:
    """Nothing is converted by guess; the path names the field that was filled."""
    filled = column("v", value).kind
    bad(Reason.TYPE_MISMATCH, f"features[0].{filled}", kind, value)


@pytest.mark.parametrize(("kind", "value", "filled"), [("FP16", 1e6, "floats"), ("FP32", 1e300, "doubles")])
async def test_a_number_too_large_is_not_infinity(kind: str, value: float, filled: str) -> None:
    """A number that the type cannot hold is refused, while infinity itself may be meant."""
    bad(Reason.TYPE_MISMATCH, "features[0]", kind, value, kind=filled)
    assert [np.inf] == one(kind, np.inf, kind=filled).overrides[0].values.ravel().tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
async def test_only_finite_values_where_the_signature_says_so(value: float) -> None:
    """NaN and infinity are refused by a finite input, and served by another."""
    bad(Reason.NON_FINITE_VALUE, "features[0]", "FP32:finite", 1.0, value)
    assert repr([1.0, value]) == repr(one("FP32", 1.0, value).overrides[0].values.ravel().tolist())


async def test_what_stands_at_a_null_is_ignored() -> None:
    """Neither its type's range nor finiteness is asked of a value that is none."""
    brought = one("FP32:finite", 1.0, np.nan, nulls=[1]).overrides[0]
    assert brought.present is not None
    assert [True, False] == brought.present.tolist()
    assert [5, 0] == one("INT8", 5, 1000, nulls=[1]).overrides[0].values.ravel().tolist()


async def test_null_of_a_float_is_nan() -> None:
    """A request leaves a float out by null, and the model gets NaN."""
    assert repr([1.0, np.nan]) == repr(one("FP32", 1.0, 0.0, nulls=[1]).overrides[0].values.ravel().tolist())


async def test_null_of_a_row_that_is_not_there() -> None:
    """A null row beyond the rows is a mistake, not a hint."""
    bad(Reason.INVALID_ARGUMENT, "features[0].null_rows", "FP32", 1.0, nulls=[1])


async def test_shapes() -> None:
    """Values of several elements come row by row; a shape that is given must fit."""
    aim = target({"v:FP32:2": ["v"]})
    values = (1.0, 2.0, 3.0, 4.0)
    for shape in ([], [2, 2], [2, 1, 2]):
        brought = member(aim, features=[column("v", *values, shape=shape)]).overrides[0]
        assert [[1, 2], [3, 4]] == brought.values.tolist()
    for shape in ([4], [4, 1], [2, 3], [1, 2, 2]):
        refused(Reason.SHAPE_MISMATCH, "features[0].shape", aim, features=(column("v", *values, shape=shape),))


async def test_lengths_of_features() -> None:
    """A feature has as many values as the keys have rows."""
    aim = target({"x:FP32:2": ["rider:trips", "hour"], "t:BYTES:2": ["rider:tags"]}, RIDER)
    keys = column("rider_id", "a", "b")
    hour = column("hour", 1.0, 2.0)
    refused(Reason.LENGTH_MISMATCH, "features[0]", aim, keys, features=(column("hour", 1.0),))
    tags = column("rider:tags", "x", "y", "z")
    refused(Reason.SHAPE_MISMATCH, "features[1]", aim, keys, features=(hour, tags))


async def test_features_that_are_not_taken() -> None:
    """Unknown, twice, an age, or missing."""
    aim = target({"x:FP32:3": ["rider:trips", "rider.age", "hour"]}, RIDER)
    keys, hour = column("rider_id", "a"), column("hour", 1.0)
    refused(Reason.UNKNOWN_FIELD, "features[1].name", aim, keys, features=(hour, column("other", 1.0)))
    refused(Reason.UNKNOWN_FIELD, "features[1].name", aim, keys, features=(hour, column("rider", 1.0)))
    refused(Reason.INVALID_ARGUMENT, "features[1].name", aim, keys, features=(hour, hour))
    refused(Reason.MISSING_FIELD, "features", aim, keys)
    refused(Reason.MISSING_FIELD, "features", aim, keys, features=(column("rider:trips", 1.0),))


async def test_request_time_features_are_named_first() -> None:
    """Of what a model takes, the stored values that a request may replace come last: there are many of them."""
    aim = target({"x:FP32:3": ["rider:trips", "hour", "minute"]}, RIDER)
    with pytest.raises(MeshError, match=r"takes no feature 'other'; it takes hour, minute, rider:trips$"):
        member(aim, column("rider_id", "a"), features=(column("other", 1.0),))


async def test_requests_without_keys() -> None:
    """A model of request-time values alone takes its rows from them, and knows no key column."""
    aim = target({"v:FP32:2": ["v"], "w:INT64": ["w"]})
    assert 2 == member(aim, features=[column("v", 1.0, 2.0, 3.0, 4.0), column("w", 1, 2)]).rows
    refused(Reason.UNKNOWN_ENTITY, "entities[0].name", aim, column("rider_id", "a"))
    with pytest.raises(MeshError, match=r"takes no key column 'rider_id'; it takes none$"):
        member(aim, column("rider_id", "a"))
    refused(Reason.ROWS_OUT_OF_RANGE, "features", aim, features=(column("v"), column("w")))
    refused(Reason.ROWS_OUT_OF_RANGE, "features", aim)
    refused(Reason.LENGTH_MISMATCH, "features[1]", aim, features=(column("v", 1.0, 2.0), column("w", 1, 2)))
