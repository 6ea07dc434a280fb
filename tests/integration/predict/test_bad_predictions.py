"""Bad predictions: each is refused with a code, a reason and the path of the field at fault, before any hop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.types.v1.data_type_pb2 import DATA_TYPE_INT64
from predictmesh.types.v1.tensor_pb2 import Tensor
from tests.worlds.failures import failure
from tests.worlds.resources import tensor, values
from tests.worlds.sandbox import TIMEOUT_S, Sandbox

GOOD = {"rider_id": ["a"], "number": [1]}
GOOD_TRIP = {"path": [[1.0, 2.0]], "count": [1]}
MIB = 2**20
INVALID = "INVALID_ARGUMENT"


def asked(endpoint: str = "trip", entities: Any = None, features: Any = None, **parts: Any) -> Callable[[Sandbox], Any]:
    """A request with one part replaced."""

    def build(own: Sandbox) -> gateway_pb.PredictRequest:
        keys = GOOD if entities is None else entities
        return own.request(endpoint, keys, GOOD_TRIP if features is None else features, **parts)

    return build


def changed(**parts: Any) -> dict[str, Any]:
    """The good features with some replaced."""
    return GOOD_TRIP | parts


BAD_PREDICTIONS = {
    "unknown endpoint": (asked("nobody"), "NOT_FOUND", "UNKNOWN_ENDPOINT", "endpoint"),
    "no endpoint": (lambda own: gateway_pb.PredictRequest(), "NOT_FOUND", "UNKNOWN_ENDPOINT", "endpoint"),
    "unknown version": (asked(version="9.9.9"), "NOT_FOUND", "UNKNOWN_VERSION", "version"),
    "unknown alias": (asked(version="champion"), "NOT_FOUND", "UNKNOWN_VERSION", "version"),
    "a version that is no name": (asked(version="\x00" * 1000), "NOT_FOUND", "UNKNOWN_VERSION", "version"),
    "unknown key column": (asked(entities={**GOOD, "car": ["x"]}), INVALID, "UNKNOWN_ENTITY", "entities[2].name"),
    "key column twice": (
        lambda own: _with_entity(own, tensor("number", [1])),
        INVALID,
        "INVALID_ARGUMENT",
        "entities[2].name",
    ),
    "missing key column": (asked(entities={"rider_id": ["a"]}), INVALID, "MISSING_KEY", "entities"),
    "no key columns": (asked(entities={}), INVALID, "MISSING_KEY", "entities"),
    "empty key": (asked(entities={"rider_id": [""], "number": [1]}), INVALID, "MISSING_KEY", "entities[0].strings[0]"),
    "null key": (
        asked(entities={"rider_id": ["a"], "number": Tensor(name="number", ints=[1], null_rows=[0])}),
        INVALID,
        "MISSING_KEY",
        "entities[1].null_rows",
    ),
    "0 rows": (asked(entities={"rider_id": [], "number": []}), INVALID, "ROWS_OUT_OF_RANGE", "entities"),
    "257 rows": (
        asked(entities={"rider_id": ["a"] * 257, "number": [1] * 257}),
        INVALID,
        "ROWS_OUT_OF_RANGE",
        "entities",
    ),
    "257 rows of features alone": (
        asked("hour", {}, {"hour": [1.0] * 257}),
        INVALID,
        "ROWS_OUT_OF_RANGE",
        "features",
    ),
    "0 rows of features alone": (asked("hour", {}, {}), INVALID, "ROWS_OUT_OF_RANGE", "features"),
    "columns of unequal length": (
        asked(entities={"rider_id": ["a", "b"], "number": [1]}),
        INVALID,
        "LENGTH_MISMATCH",
        "entities",
    ),
    "feature of another length": (asked(features=changed(count=[1, 2])), INVALID, "LENGTH_MISMATCH", "features[1]"),
    "key of another type": (
        asked(entities={"rider_id": [1], "number": [1]}),
        INVALID,
        "TYPE_MISMATCH",
        "entities[0].ints",
    ),
    "feature of another type": (asked(features=changed(count=[1.5])), INVALID, "TYPE_MISMATCH", "features[1].floats"),
    "text for a number": (asked(features=changed(count=["1"])), INVALID, "TYPE_MISMATCH", "features[1].strings"),
    "stored feature of another type": (
        asked(features=changed(**{"trip:stops": [0.5]})),
        INVALID,
        "TYPE_MISMATCH",
        "features[2].floats",
    ),
    "feature without values": (asked(features=changed(count=[])), INVALID, "TYPE_MISMATCH", "features[1]"),
    "a type that the values are not of": (
        asked(features=changed(path=Tensor(name="path", data_type=DATA_TYPE_INT64, floats=[1, 2]))),
        INVALID,
        "TYPE_MISMATCH",
        "features[0].data_type",
    ),
    "values of two types": (
        asked(features=changed(count=Tensor(name="count", ints=[1], floats=[1.0]))),
        INVALID,
        "INVALID_ARGUMENT",
        "features[1].floats",
    ),
    "a type that nobody knows": (
        asked(features=changed(path=Tensor(name="path", data_type=99, floats=[1, 2]))),  # type: ignore[arg-type]
        INVALID,
        "INVALID_ARGUMENT",
        "features[0].data_type",
    ),
    "a key type that the values are not of": (
        asked(entities={"rider_id": Tensor(name="rider_id", data_type=DATA_TYPE_INT64, strings=["a"]), "number": [1]}),
        INVALID,
        "TYPE_MISMATCH",
        "entities[0].data_type",
    ),
    "list of another length": (asked(features=changed(path=[1.0])), INVALID, "SHAPE_MISMATCH", "features[0]"),
    "another shape": (
        asked(features=changed(path=Tensor(name="path", shape=[2, 1], floats=[1, 2]))),
        INVALID,
        "SHAPE_MISMATCH",
        "features[0].shape",
    ),
    "shape of another size": (
        asked(features=changed(path=Tensor(name="path", shape=[1, 3], floats=[1, 2]))),
        INVALID,
        "SHAPE_MISMATCH",
        "features[0].shape",
    ),
    "null row beyond the last": (
        asked(features=changed(count=Tensor(name="count", ints=[1], null_rows=[7]))),
        INVALID,
        "INVALID_ARGUMENT",
        "features[1].null_rows",
    ),
    "unknown feature": (asked(features=changed(fare=[1.0])), INVALID, "UNKNOWN_FIELD", "features[2].name"),
    "unknown stored feature": (
        asked(features=changed(**{"trip:nothing": [1.0]})),
        INVALID,
        "UNKNOWN_FIELD",
        "features[2].name",
    ),
    "missing feature": (asked(features={"path": [[1.0, 2.0]]}), INVALID, "MISSING_FIELD", "features"),
    "NaN where it is not allowed": (asked("finite", {}, {"x": [math.nan]}), INVALID, "NON_FINITE_VALUE", "features[0]"),
    "infinity where it is not allowed": (
        asked("finite", {}, {"x": [1.0, math.inf]}),
        INVALID,
        "NON_FINITE_VALUE",
        "features[0]",
    ),
    "1 MiB key": (
        asked(entities={"rider_id": ["x" * MIB], "number": [1]}),
        INVALID,
        "KEY_TOO_LONG",
        "entities[0].strings[0]",
    ),
    "key columns too long together": (
        asked(entities={"rider_id": ["x" * 249], "number": [1]}),
        INVALID,
        "KEY_TOO_LONG",
        "entities[0].strings[0]",
    ),
    "as_of beyond the calendar": (lambda own: _as_of(own, 2**62, 0), INVALID, "INVALID_ARGUMENT", "as_of"),
    "as_of with too many nanoseconds": (lambda own: _as_of(own, 0, 10**9), INVALID, "INVALID_ARGUMENT", "as_of.nanos"),
    "prediction id too long": (asked(prediction_id="ü" * 33), INVALID, "INVALID_ARGUMENT", "prediction_id"),
}


def _with_entity(own: Sandbox, column: Tensor) -> gateway_pb.PredictRequest:
    request = own.request("trip", GOOD, GOOD_TRIP)
    request.entities.append(column)
    return request


def _as_of(own: Sandbox, seconds: int, nanos: int) -> gateway_pb.PredictRequest:
    request = own.request("trip", GOOD, GOOD_TRIP)
    request.as_of.CopyFrom(Timestamp(seconds=seconds, nanos=nanos))
    return request


@pytest.mark.parametrize(("build", "code", "reason", "path"), BAD_PREDICTIONS.values(), ids=BAD_PREDICTIONS.keys())
async def test_a_bad_prediction_is_refused(
    trips: Sandbox, build: Callable[[Sandbox], gateway_pb.PredictRequest], code: str, reason: str, path: str
) -> None:
    """The whole request fails, whichever of the rpcs carries it."""
    request = build(trips)
    gateway = trips.mesh.gateway
    found = await failure(gateway.Predict(request, timeout=TIMEOUT_S))
    assert (code, reason, (path,)) == found.short
    assert len(found.message) < 2000
    explained = await failure(gateway.Explain(gateway_pb.ExplainRequest(request=request), timeout=TIMEOUT_S))
    assert found.short == (
        explained.code,
        explained.reason,
        tuple(each.removeprefix("request.") for each in explained.fields),
    )


async def test_a_key_of_256_bytes_is_taken(trips: Sandbox) -> None:
    """The limit itself is allowed: 248 bytes of text and 8 of the number."""
    answer = await trips.predict("trip", {"rider_id": ["ü" * 124], "number": [1]}, GOOD_TRIP)
    assert 1 == answer.outputs[0].shape[0]


async def test_a_bad_request_leaves_its_neighbours_alone(trips: Sandbox) -> None:
    """Good requests of the same moment are answered."""
    answers = []
    async with asyncio.TaskGroup() as group:
        for build, *_ in BAD_PREDICTIONS.values():
            group.create_task(failure(trips.mesh.gateway.Predict(build(trips), timeout=TIMEOUT_S)))
            answers.append(group.create_task(trips.predict("trip", GOOD, GOOD_TRIP)))
    assert all([1.0] == values(answer.result().outputs[0]) for answer in answers)
