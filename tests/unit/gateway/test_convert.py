"""Requests and answers between the wire and the domain, whole and unchanged."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.gateway.v1 import prediction_service_pb2 as pb
from predictmesh.gateway.v1 import provenance_pb2
from predictmesh.types.v1 import data_type_pb2
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.gateway.assembly import zeros
from services.gateway.convert import (
    MAX_SECONDS,
    decode_predict,
    encode_explanation,
    encode_prediction,
    tensor_of,
)
from services.gateway.convert_target import dtype_of
from services.gateway.errors import StaleFeature
from services.gateway.lane import Lane
from services.gateway.prediction import (
    NOT_STORED,
    Degradation,
    DegradationReason,
    FeatureState,
    Outcome,
    Prediction,
)
from services.gateway.routing import Arm, Route, RouteReason
from services.gateway.target import DType, Target
from services.mesh.deadline import Deadline
from services.mesh.errors import InvalidArgument
from services.mesh.resilience import Effort
from tests.support.predictions import (
    AS_OF_US,
    MemoryFeatures,
    MemoryModel,
    StoredRow,
    column,
    member,
    target,
    view,
)

RIDER = view("rider", "a:FP32", "n:INT64")
AIM = target({"x:FP32:2": ["rider:a", "rider.age"], "n:INT64": ["rider:n"]}, RIDER)


def decoded(message: pb.PredictRequest, metadata: dict[str, str | bytes] | None = None) -> Any:
    """Return the call that a message asks for."""
    return decode_predict(message, metadata or {}, None)


def refused(field: str, **parts: Any) -> None:
    """Check that a message is refused for one field."""
    with pytest.raises(InvalidArgument) as caught:
        decoded(pb.PredictRequest(**parts))
    assert [field] == [violation.field for violation in caught.value.violations]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("strings", ["a", "é"]),
        ("ints", [-(2**63), 2**63 - 1]),
        ("uints", [0, 2**64 - 1]),
        ("floats", [0.5, -1.0]),
        ("doubles", [0.1, 1e300]),
        ("bools", [True, False]),
        ("blobs", [b"", b"\xff"]),
    ],
)
def test_columns(field: str, values: list[Any]) -> None:
    """Each field of values arrives as it is, with nulls and shape, and says which field it was."""
    filled: dict[str, Any] = {field: values}
    tensor = Tensor(name="c", null_rows=[1], shape=[2], **filled)
    for call_of in ("entities", "features"):
        parts: dict[str, Any] = {call_of: [tensor]}
        (found,) = getattr(decoded(pb.PredictRequest(**parts)), call_of)
        assert ("c", field, values) == (found.name, found.kind, found.values)
        assert ([1], [2]) == (list(found.null_rows), list(found.shape))


def test_column_without_values() -> None:
    """A column that is named and empty has no kind."""
    (found,) = decoded(pb.PredictRequest(entities=[Tensor(name="c")])).entities
    assert ("c", "", []) == (found.name, found.kind, found.values)


def test_column_with_values_twice() -> None:
    """Two fields of values in one tensor leave open which is meant."""
    refused("features[1].strings", features=[Tensor(name="c"), Tensor(name="d", ints=[1], strings=["1"])])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Timestamp(seconds=1, nanos=1_999), 1_000_001),
        (Timestamp(nanos=1_000), 1),
        (Timestamp(seconds=MAX_SECONDS, nanos=999_999_999), MAX_SECONDS * 1_000_000 + 999_999),
    ],
)
def test_as_of(given: Timestamp, expected: int) -> None:
    """Microseconds since the epoch; what is finer is cut off."""
    assert expected == decoded(pb.PredictRequest(as_of=given)).as_of_us


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("as_of", Timestamp()),
        ("as_of", Timestamp(nanos=999)),
        ("as_of", Timestamp(seconds=-1)),
        ("as_of", Timestamp(seconds=MAX_SECONDS + 1)),
        ("as_of", Timestamp(seconds=2**63 - 1)),
        ("as_of", Timestamp(seconds=-(2**63))),
        ("as_of.nanos", Timestamp(seconds=1, nanos=-1)),
        ("as_of.nanos", Timestamp(seconds=1, nanos=10**9)),
    ],
    ids=str,
)
def test_as_of_that_is_no_time(field: str, given: Timestamp) -> None:
    """It is refused here: the feature service would refuse all who travel along."""
    refused(field, as_of=given)


def test_as_of_is_now_unless_given() -> None:
    """The gateway's clock counts at arrival."""
    first, second = (decoded(pb.PredictRequest()).as_of_us for _ in range(2))
    assert AS_OF_US < first <= second


def test_length_of_prediction_ids_is_in_bytes() -> None:
    """64 bytes are the most, whatever the characters."""
    for text in ("i" * 64, "é" * 32):
        assert text == decoded(pb.PredictRequest(prediction_id=text)).prediction_id
    for text in ("i" * 65, "é" * 33):
        refused("prediction_id", prediction_id=text)


def test_version_by_header() -> None:
    """The field of the request counts before the header."""
    header: dict[str, str | bytes] = {"x-model-version": "1.0.0"}
    assert "1.0.0" == decoded(pb.PredictRequest(), header).pin
    assert "2.0.0" == decoded(pb.PredictRequest(version="2.0.0"), header).pin
    assert "" == decoded(pb.PredictRequest()).pin


def test_deadline_and_explain() -> None:
    """They come from the call."""
    deadline = Deadline.after(1)
    found = decode_predict(pb.PredictRequest(), {}, deadline, explain=True)
    assert (deadline, True) == (found.deadline, found.explain)


_FIELDS = {
    DType.BOOL: ("bools", [True, False]),
    DType.UINT64: ("uints", [0, 2**64 - 1]),
    DType.INT64: ("ints", [-(2**63), 2**63 - 1]),
    DType.UINT8: ("ints", [0, 255]),
    DType.UINT16: ("ints", [0, 2**16 - 1]),
    DType.UINT32: ("ints", [0, 2**32 - 1]),
    DType.INT8: ("ints", [-128, 127]),
    DType.INT16: ("ints", [-(2**15), 2**15 - 1]),
    DType.INT32: ("ints", [-(2**31), 2**31 - 1]),
    DType.FP16: ("floats", [0.5, np.inf]),
    DType.FP32: ("floats", [0.5, -np.inf]),
    DType.FP64: ("doubles", [0.1, 1e300]),
}


@pytest.mark.parametrize("dtype", _FIELDS, ids=lambda dtype: dtype.name)
def test_tensors(dtype: DType) -> None:
    """Values of every type, to the ends of their range, in the field that the type has."""
    field, values = _FIELDS[dtype]
    made = tensor_of("y", dtype, (2, 1), np.array(values, dtype.numpy))
    data_type = data_type_pb2.DataType.Value(f"DATA_TYPE_{dtype.name}")
    assert Tensor(name="y", data_type=data_type, shape=[2, 1], **{field: values}) == made  # type: ignore[arg-type]


@pytest.mark.parametrize(("values", "field"), [(["a", "é"], "strings"), ([b"a", b"\xff"], "blobs")])
def test_tensors_of_bytes(values: list[Any], field: str) -> None:
    """Text if all of it is UTF-8, else bytes."""
    array = zeros(DType.BYTES, 2)
    array[:] = [value.encode() if isinstance(value, str) else value for value in values]
    assert values == list(getattr(tensor_of("y", DType.BYTES, (2,), array), field))


def test_every_degradation_has_its_number() -> None:
    """The wire's numbers and ours are of the same reasons."""
    wire = {
        name.removeprefix("DEGRADATION_REASON_"): number for name, number in provenance_pb2.DegradationReason.items()
    }
    assert wire == {"UNSPECIFIED": 0} | {reason.name: reason.value for reason in DegradationReason}


def test_every_route_reason_has_its_number() -> None:
    """The wire's numbers and ours are of the same reasons."""
    wire = {name.removeprefix("ROUTE_REASON_"): number for name, number in provenance_pb2.RouteReason.items()}
    assert wire == {"UNSPECIFIED": 0} | {reason.name: reason.value for reason in RouteReason}


def test_every_type_has_a_number() -> None:
    """The wire's numbers and ours are of the same types."""
    for dtype in DType:
        assert dtype is dtype_of(data_type_pb2.DataType.Value(f"DATA_TYPE_{dtype.name}"))


def prediction(outcome: Outcome, rows: int, aim: Target = AIM) -> Prediction:
    """Return an answer with this outcome."""
    return Prediction("id", Route(aim, RouteReason.PINNED), rows, outcome, AS_OF_US + 7, "f" * 32, 42)


def test_provenance_of_a_release() -> None:
    """An answer that a release chose names it."""
    made = prediction(Outcome([np.zeros((1, 1), "<f4")], {}, [0, 0], [], "onnx"), 1)
    assert 0 == encode_prediction(made).provenance.release_id
    made.route = Route(AIM, RouteReason.CANARY, Arm("m", 7, 0, "1.0.0"))
    provenance = encode_prediction(made).provenance
    assert (7, provenance_pb2.ROUTE_REASON_CANARY) == (provenance.release_id, provenance.route_reason)


def test_effort_of_a_hop() -> None:
    """What a hop took beyond one attempt stands beside its time; nothing does of the others."""
    made = prediction(Outcome([np.zeros((1, 1), "<f4")], {}, [0, 0], [], "onnx", (("features", 2), ("model", 3))), 1)
    made.outcome.efforts = {"model": Effort(retries=1, hedged=True, breakers_open=2)}
    assert [
        provenance_pb2.HopTime(name="features", duration_us=2),
        provenance_pb2.HopTime(name="model", duration_us=3, retries=1, hedged=True, breakers_open=2),
    ] == list(encode_prediction(made).provenance.hops)


def test_provenance() -> None:
    """Every field of it."""
    outcome = Outcome(
        [np.array([[1.5], [0.0]], "<f4")],
        {1: StaleFeature("too old", view="rider")},
        [5_999, -1_001],
        [Degradation(DegradationReason.FEATURE_AHEAD, "rider", [1])],
        "onnx",
        (("queue", 1), ("features", 2), ("model", 3)),
        batch_rows=9,
    )
    made = encode_prediction(prediction(outcome, 2))
    expected = provenance_pb2.Provenance(
        model="m",
        version="1.0.0",
        route_reason=provenance_pb2.ROUTE_REASON_PINNED,
        runtime="onnx",
        as_of=Timestamp(seconds=1_700_000_000, nanos=7_000),
        views=[provenance_pb2.ViewAge(view="rider", oldest_age_ms=5)],
        degradations=[
            provenance_pb2.Degradation(
                reason=provenance_pb2.DEGRADATION_REASON_FEATURE_AHEAD, subject="rider", rows=[1]
            )
        ],
        hops=[provenance_pb2.HopTime(name=name, duration_us=time) for name, time in outcome.hops],
        batch_rows=9,
        trace_id="f" * 32,
        snapshot_revision=42,
    )
    assert expected == made.provenance
    assert ("id", [1.5, 0.0]) == (made.prediction_id, list(made.outputs[0].floats))
    assert [(1, 9, "too old")] == [(each.row, each.status.code, each.status.message) for each in made.row_errors]


@pytest.mark.parametrize(
    ("ages", "oldest"),
    [
        ([NOT_STORED, 2_500], 2),
        ([-2_500, NOT_STORED], -3),
        ([2**63 - 1, 0], (2**63 - 1) // 1000),
        ([NOT_STORED, NOT_STORED], None),
    ],
)
def test_oldest_age(ages: list[int], oldest: int | None) -> None:
    """Nothing stored has no age; an age below zero is rounded down, so that it stays below zero."""
    outcome = Outcome([np.zeros((2, 1), "<f4")], {}, ages, [], "onnx")
    (found,) = encode_prediction(prediction(outcome, 2)).provenance.views
    assert oldest == (found.oldest_age_ms if found.HasField("oldest_age_ms") else None)


def test_row_errors_ascend() -> None:
    """Rows are in order, however they were found."""
    errors = {row: StaleFeature("old") for row in (2, 0)}
    outcome = Outcome([np.zeros((3, 1), "<f4")], errors, [0, 0, 0], [], "onnx")  # type: ignore[arg-type]
    assert [0, 2] == [each.row for each in encode_prediction(prediction(outcome, 3)).row_errors]


def explained(inputs: dict[str, list[str]], rows: list[StoredRow], *features: Any) -> list[pb.InputValue]:
    """Return the explanation of a request for stored rows 0, 1, ..."""
    aim = target(inputs, RIDER)
    lane = Lane(
        aim,
        MemoryFeatures({str(row): each for row, each in enumerate(rows)}),
        MemoryModel(),
        max_rows=9,
        max_queued_rows=9,
    )

    async def answer() -> Outcome:
        keys = [column("rider_id", *map(str, range(len(rows))))] if aim.keys else []
        return await lane.answer(member(aim, *keys, features=features, explain=True))

    return list(encode_explanation(prediction(asyncio.run(answer()), len(rows), aim)).inputs)


def test_explanation_origins() -> None:
    """Where each value came from: stored, brought, remembered, the default for what is absent, stale or not known, or nowhere."""
    rows = [
        StoredRow({"rider:a": 4.0}, {"rider": 9_000}),
        StoredRow({"rider:a": 4.0}),
        StoredRow(ages_us={"rider": NOT_STORED}, states={"rider": FeatureState.ABSENT}),
        StoredRow(ages_us={"rider": 7_000}, states={"rider": FeatureState.STALE_DEFAULTED}),
        StoredRow({"rider:a": None}),
        StoredRow({"rider:a": 5.0}, {"rider": 8_000}, unreached=frozenset({"rider"})),
        StoredRow(ages_us={"rider": NOT_STORED}, states={"rider": FeatureState.ABSENT}, unreached=frozenset({"rider"})),
    ]
    found = explained({"x:FP32": ["rider:a"]}, rows, column("rider:a", *[8.0] * 7, nulls=[0, 2, 3, 4, 5, 6]))
    assert ["STORE", "REQUEST", "DEFAULT_ABSENT", "DEFAULT_STALE", "NULL", "MEMORY", "DEFAULT_UNREACHABLE"] == [
        pb.ValueOrigin.Name(each.origin).removeprefix("VALUE_ORIGIN_") for each in found
    ]
    assert repr([4.0, 8.0, 0.0, 0.0, np.nan, 5.0, 0.0]) == repr([each.value.floats[0] for each in found])
    assert [9, None, None, 7, 0, 8, None] == [each.age_ms if each.HasField("age_ms") else None for each in found]


def test_explanation_names_every_source() -> None:
    """One entry a row, input and source, in that order, of the source's own width."""
    found = explained(
        {"x:FP32:3": ["hour", "rider:a", "rider.age"], "v:INT64:2": ["pair"]},
        [StoredRow(ages_us={"rider": 2_000_000}), StoredRow(ages_us={"rider": 3_000_000})],
        column("hour", 1.0, 2.0),
        column("pair", 1, 2, 3, 4),
    )
    assert [("x", "hour"), ("x", "a"), ("x", "rider"), ("v", "pair")] * 2 == [
        (each.input, each.source.request or each.source.field.field or each.source.age_of_view) for each in found
    ]
    assert [0] * 4 + [1] * 4 == [each.row for each in found]
    assert [2.0, 3.0] == [each.value.floats[0] for each in found if each.source.age_of_view]
    assert [[1, 2], [3, 4]] == [list(each.value.ints) for each in found if each.input == "v"]


def test_explanation_of_a_null_that_was_brought() -> None:
    """A float that the request leaves out has no value, wherever its input comes from."""
    for inputs in ({"x:FP32": ["hour"]}, {"x:FP32:2": ["hour", "rider:a"]}):
        found = explained(inputs, [StoredRow(), StoredRow()], column("hour", 1.0, 0.0, nulls=[1]))
        origins = [each.origin for each in found if each.source.request]
        assert [pb.VALUE_ORIGIN_REQUEST, pb.VALUE_ORIGIN_NULL] == origins
        assert np.isnan(next(each.value.floats[0] for each in found if each.row == 1))
