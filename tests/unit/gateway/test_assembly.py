"""The model's inputs: stored bytes as they are, and what requests bring in its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.gateway.assembly import model_inputs, pack, row_errors, unpacked, zeros
from services.gateway.prediction import NOT_STORED, FeatureState
from services.gateway.request import Member
from services.gateway.target import DType, Target
from services.mesh.errors import Reason
from tests.support.predictions import StoredRow, column, feature_rows, member, target, view

# For each type: a stored value, one that a request brings, and the field of the request's tensor.
VALUES: dict[DType, tuple[Any, Any, str]] = {
    DType.BOOL: (True, False, "bools"),
    DType.UINT8: (7, 255, "ints"),
    DType.UINT16: (7, 65_535, "ints"),
    DType.UINT32: (7, 2**32 - 1, "ints"),
    DType.UINT64: (7, 2**64 - 1, "uints"),
    DType.INT8: (-7, -128, "ints"),
    DType.INT16: (-7, -32_768, "ints"),
    DType.INT32: (-7, -(2**31), "ints"),
    DType.INT64: (-7, -(2**63), "ints"),
    DType.FP16: (0.5, -2.0, "floats"),
    DType.FP32: (0.5, -2.0, "floats"),
    DType.FP64: (0.1, 1e300, "doubles"),
    DType.BYTES: (b"stored", b"\xff brought", "blobs"),
}
every_dtype = pytest.mark.parametrize("dtype", DType, ids=lambda dtype: dtype.name)


def assembled(aim: Target, members: list[Member], rows: list[StoredRow]) -> list[list[Any]]:
    """Return each input's values, given the members' stored rows."""
    packed = model_inputs(aim, members, len(rows), feature_rows(aim, rows) if aim.plan else None)
    return [unpacked(tensor, feed.dtype, feed.width).tolist() for tensor, feed in zip(packed, aim.inputs, strict=True)]


@every_dtype
async def test_overlay(dtype: DType) -> None:
    """A request's value takes the place of the stored one in its own rows, and only there."""
    old, new, kind = VALUES[dtype]
    aim = target({f"x:{dtype.name}:2": ["rider:a", "rider:b"]}, view("rider", f"a:{dtype.name}", f"b:{dtype.name}"))
    stored = [StoredRow({"rider:a": old, "rider:b": old}) for _ in range(4)]
    plain = member(aim, column("rider_id", "k"))
    brings = member(aim, column("rider_id", "k", "k"), features=[column("rider:b", old, new, kind=kind, nulls=[0])])
    assert [[[old, old], [old, old], [old, new], [old, old]]] == assembled(aim, [plain, brings, plain], stored)


@every_dtype
async def test_request_values_alone(dtype: DType) -> None:
    """An input that no view feeds is what the requests brought, one after another."""
    old, new, kind = VALUES[dtype]
    aim = target({f"x:{dtype.name}": ["x"]})
    members = [member(aim, features=[column("x", value, kind=kind)]) for value in (old, new)]
    assert [[[old], [new]]] == assembled(aim, members, [StoredRow(), StoredRow()])


@every_dtype
def test_packing(dtype: DType) -> None:
    """What is packed comes back the same, in an array that can be written to."""
    old, new, _ = VALUES[dtype]
    array = zeros(dtype, 4)
    array[:2] = [old, new]
    back = unpacked(pack(array, dtype), dtype, 2)
    assert [[old, new], array[2:].tolist()] == back.tolist()
    assert back.flags.writeable


async def test_stored_bytes_pass_through() -> None:
    """A tensor that nobody touches is handed on as the object it is."""
    rider = view("rider", "a:FP32", "b:FP32")
    aim = target({"x:FP32": ["rider:a"], "y:FP32": ["rider:b"]}, rider)
    features = feature_rows(aim, [StoredRow()])
    touched = member(aim, column("rider_id", "k"), features=[column("rider:b", 2.0)])
    packed = model_inputs(aim, [touched], 1, features)
    assert packed[0] is features.tensors[0]
    assert [2.0] == np.frombuffer(packed[1], "<f4").tolist()


@pytest.mark.parametrize(
    ("dtype", "packed"),
    [
        (DType.BYTES, b"\x01"),
        (DType.BYTES, b"\x05\0\0\0abc"),
        (DType.BYTES, b"\x01\0\0\0a\x01\0"),
        (DType.BYTES, b"\x01\0\0\0a" * 3),
        (DType.FP32, b"\0" * 7),
        (DType.FP32, b"\0" * 12),
    ],
)
def test_bytes_that_are_no_rows(dtype: DType, packed: bytes) -> None:
    """Elements cut short, or not enough of them for whole rows of two."""
    with pytest.raises(ValueError, match=r"short|reshape|buffer size"):
        unpacked(packed, dtype, 2)


@pytest.mark.parametrize("inputs", [{"x:FP32": ["hour"]}, {"x:FP32:2": ["hour", "rider:a"]}], ids=["alone", "mixed"])
async def test_null_of_a_request(inputs: dict[str, list[str]]) -> None:
    """A float that a request leaves out is NaN, whether the rest of its input is stored or not."""
    aim = target(inputs | {"z:FP32": ["rider:a"]}, view("rider", "a:FP32"))
    brings = member(aim, column("rider_id", "k", "k"), features=[column("hour", 3.0, 0.0, nulls=[1])])
    values = assembled(aim, [brings], [StoredRow({"rider:a": 9.0})] * 2)[0]
    assert 3 == values[0][0]
    assert np.isnan(values[1][0])
    assert {} == row_errors(aim, brings, 0, feature_rows(aim, [StoredRow()] * 2))


@pytest.mark.parametrize("dtype", ["INT64", "BOOL", "BYTES", "FP32:finite"])
async def test_null_where_there_is_none(dtype: str) -> None:
    """A value left out of a type without null fails its row, and only that."""
    value = {"INT64": 1, "BOOL": True, "BYTES": "t", "FP32:finite": 1.0}[dtype]
    aim = target({f"x:{dtype}": ["x"]})
    brings = member(aim, features=[column("x", value, value, value, nulls=[1])])
    errors = row_errors(aim, brings, 0, None)
    assert {1: Reason.MISSING_FEATURE} == {row: error.reason for row, error in errors.items()}


RIDER = view("rider", "a:FP32", "n:INT64")
AIM = target({"x:FP32:2": ["rider:a", "hour"], "y:INT64": ["rider:n"]}, RIDER)
AGED = target({"x:FP32:2": ["rider:a", "rider.age"]}, RIDER)
HOUR = column("hour", 1.0, 1.0)


def reasons(aim: Target, brings: Member, rows: list[StoredRow], start: int = 0) -> dict[int, Reason]:
    """Return why rows of a member fail that begins at `start` of the batch."""
    return {row: error.reason for row, error in row_errors(aim, brings, start, feature_rows(aim, rows)).items()}


async def test_stale_row() -> None:
    """A rejected value fails its own row; whatever came before in the batch does not count."""
    stale = StoredRow(states={"rider": FeatureState.STALE_REJECTED})
    brings = member(AIM, column("rider_id", "a", "b"), features=[HOUR])
    assert {1: Reason.STALE_FEATURE} == reasons(AIM, brings, [stale, StoredRow(), stale, stale], start=1)


async def test_stale_row_is_saved_by_all_of_its_values() -> None:
    """A request that brings every value of a stale view needs none of it; one that brings some, or null, does."""
    stale = StoredRow(states={"rider": FeatureState.STALE_REJECTED})
    a, n = column("rider:a", 1.0, 2.0), column("rider:n", 1, 2)
    keys = column("rider_id", "a", "b")
    assert {} == reasons(AIM, member(AIM, keys, features=[HOUR, a, n]), [stale, stale])
    assert [0, 1] == list(reasons(AIM, member(AIM, keys, features=[HOUR, a]), [stale, stale]))
    half = column("rider:n", 1, 2, nulls=[1])
    assert [1] == list(reasons(AIM, member(AIM, keys, features=[HOUR, a, half]), [stale, stale]))


async def test_what_the_store_did_not_answer_for_fails_by_it() -> None:
    """A rejected or missing value is the store's fault then, unless the request brings it."""
    rider = frozenset({"rider"})
    rejected = StoredRow(states={"rider": FeatureState.STALE_REJECTED}, unreached=rider)
    unknown = StoredRow({"rider:n": None}, {"rider": NOT_STORED}, {"rider": FeatureState.ABSENT}, rider)
    keys = column("rider_id", "a", "b")
    for row in (rejected, unknown):
        assert {0: Reason.STORE_UNAVAILABLE} == reasons(AIM, member(AIM, keys, features=[HOUR]), [row, StoredRow()])
    brings = member(AIM, keys, features=[HOUR, column("rider:a", 1.0, 2.0), column("rider:n", 1, 2)])
    assert {} == reasons(AIM, brings, [rejected, unknown])


async def test_the_age_of_a_stale_view_cannot_be_brought() -> None:
    """A model that takes the age takes something of the stale value, whatever the request brings."""
    stale = StoredRow(states={"rider": FeatureState.STALE_REJECTED})
    brings = member(AGED, column("rider_id", "a"), features=[column("rider:a", 1.0)])
    assert {0: Reason.STALE_FEATURE} == reasons(AGED, brings, [stale])


async def test_missing_value() -> None:
    """No value and no null fails the row, unless the request brings the value."""
    absent = StoredRow({"rider:n": None}, {"rider": NOT_STORED}, {"rider": FeatureState.ABSENT})
    keys = column("rider_id", "a", "b")
    assert {0: Reason.MISSING_FEATURE} == reasons(AIM, member(AIM, keys, features=[HOUR]), [absent, StoredRow()])
    for nulls, failed in (([], []), ([0], [0]), ([1], [])):
        brings = member(AIM, keys, features=[HOUR, column("rider:n", 1, 2, nulls=nulls)])
        assert failed == list(reasons(AIM, brings, [absent, StoredRow()]))
