"""The feature service from end to end: in process over a store in memory, and over the wire on Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2

from predictmesh.features.v1 import features_service_pb2 as pb
from predictmesh.registry.v1.feature_view_pb2 import FeatureView
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.mesh.errors import Code, MeshError, Reason
from tests.support.feature_service import RunningFeatures, feature_service
from tests.support.feature_views import NOON_US, batch, columns, plan, query, view
from tests.support.valkey import Valkey, valkey
from tests.support.waiting import eventually

FLIGHTS = view("flights", {"late": "FP32", "count": "INT32"}, entity="tail", keys={"tail": "STRING"})
ROUTES = view(
    "demo/routes", {"late": "FP32"}, entity="route", keys={"origin": "STRING", "number": "INT64"}, ttl_ms=10**9
)
TAILS = view("demo/tails", {"late": "FP32"}, entity="route", keys={"origin": "STRING", "number": "INT64"})
VIEWS: tuple[FeatureView, ...] = (FLIGHTS, ROUTES, TAILS)
LATE = plan({"flights": 1}, {"x": ("FP32", ["flights:late"])})


@pytest.fixture(scope="module")
def store() -> Iterator[Valkey]:
    """Run one Valkey."""
    with valkey() as server:
        yield server


@pytest.fixture(params=["inprocess", "wire"])
async def features(request: pytest.FixtureRequest, store: Valkey, tmp_path: Path) -> AsyncIterator[RunningFeatures]:
    """Run the service in both worlds."""
    over_wire = request.param == "wire"
    if over_wire:
        with store.client() as client:
            client.flushall()
    url = store.url if over_wire else "memory://"
    async with feature_service(tmp_path, url, *VIEWS, over_wire=over_wire) as running:
        yield running


async def late(features: RunningFeatures, *tails: str) -> list[float]:
    """Return the stored values, NaN where there is none."""
    response = await features.stub.GetFeatures(query(LATE, {"tail": tails}))
    return np.frombuffer(response.tensors[0], "<f4").tolist()  # type: ignore[no-any-return]


def rows(*tails: str, time_us: int = NOON_US, value: float = 1) -> pb.FeatureBatch:
    """Return rows of FLIGHTS, all of one time and value."""
    return batch("flights", {"tail": tails}, {"late": [value] * len(tails)}, time_us)


async def write(features: RunningFeatures, written: pb.FeatureBatch) -> pb.WriteFeaturesResponse:
    """Write one batch."""
    return await features.stub.WriteFeatures(pb.WriteFeaturesRequest(batch=written))


async def test_what_is_written_is_read(features: RunningFeatures) -> None:
    """A write that was answered is seen by the next read; an earlier event is not written."""
    assert pb.WriteFeaturesResponse(written_rows=2) == await write(features, rows("N1", "N2"))
    answer = await write(features, rows("N1", "N3", time_us=NOON_US - 1, value=2))

    assert pb.WriteFeaturesResponse(written_rows=1, superseded_rows=1) == answer
    assert [1, 1, 2] == await late(features, "N1", "N2", "N3")


async def test_an_unknown_plan_is_answered_as_such(features: RunningFeatures) -> None:
    """UNKNOWN_PLAN asks for the plan, and after that the id is enough."""
    request = query(LATE, {"tail": ["N1"]})
    request.ClearField("plan")
    with pytest.raises(MeshError) as raised:
        await features.stub.GetFeatures(request)
    assert (Code.FAILED_PRECONDITION, Reason.UNKNOWN_PLAN) == (raised.value.code, raised.value.reason)
    await features.stub.GetFeatures(query(LATE, {"tail": ["N1"]}))

    assert 1 == len((await features.stub.GetFeatures(request)).statuses)


async def test_rows_that_cannot_be_written_are_named(features: RunningFeatures) -> None:
    """The others of the batch are written; each bad row has its status with reason and field."""
    bad = batch(
        "flights",
        {"tail": ["ok", "", "x" * 257, "big", "old"]},
        {"late": [1, 1, 1, 1, 1], "count": Tensor(ints=[1, 1, 1, 2**40, 1])},
        NOON_US, NOON_US, NOON_US, NOON_US, 0,
    )  # fmt: skip
    answer = await write(features, bad)

    assert (1, 0) == (answer.written_rows, answer.superseded_rows)
    assert [
        (1, "MISSING_KEY", "batch.keys[0].strings[1]"),
        (2, "KEY_TOO_LONG", "batch.keys[0].strings[2]"),
        (3, "INVALID_ARGUMENT", "batch.values[1].ints[3]"),
        (4, "INVALID_ARGUMENT", "batch.event_time_us[4]"),
    ] == [explained(rejected) for rejected in answer.rejected]
    assert [1] == await late(features, "ok")
    assert np.isnan(await late(features, "big", "old")).all()


def explained(rejected: pb.RejectedRow) -> tuple[int, str, str]:
    """Return the row of a rejection, its reason and its field."""
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in rejected.status.details:
        for message in (info, request):
            detail.Unpack(message)
    return rejected.row, info.reason, request.field_violations[0].field


GOOD = rows("N1")


def changed(**changes: object) -> pb.FeatureBatch:
    """Return a good batch with fields replaced."""
    made = pb.FeatureBatch()
    made.CopyFrom(GOOD)
    for name, value in changes.items():
        made.ClearField(name)  # type: ignore[arg-type]
        made.MergeFrom(pb.FeatureBatch(**{name: value}))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    ("bad", "reason", "path"),
    [
        pytest.param(pb.FeatureBatch(), Reason.UNKNOWN_VIEW, "batch.view", id="empty"),
        pytest.param(changed(view="none"), Reason.UNKNOWN_VIEW, "batch.view", id="no such view"),
        pytest.param(changed(keys=[]), Reason.MISSING_KEY, "batch.keys", id="no keys"),
        pytest.param(
            changed(keys=columns({"tail": ["a"], "wing": ["b"]})),
            Reason.UNKNOWN_ENTITY,
            "batch.keys[1]",
            id="no such key column",
        ),
        pytest.param(rows(*["N"] * 10_001), Reason.ROWS_OUT_OF_RANGE, "batch.keys", id="10,001 rows"),
        pytest.param(rows(""), Reason.MISSING_KEY, "batch.keys[0].strings[0]", id="every row is bad"),
        pytest.param(
            changed(values=[Tensor(name="wrong", floats=[1])]),
            Reason.UNKNOWN_FIELD,
            "batch.values[0]",
            id="wrong column",
        ),
        pytest.param(
            changed(values=[Tensor(name="late", doubles=[1])]),
            Reason.TYPE_MISMATCH,
            "batch.values[0].doubles",
            id="double for float",
        ),
        pytest.param(
            changed(values=[Tensor(name="late", data_type="DATA_TYPE_FP64", floats=[1])]),  # type: ignore[arg-type]
            Reason.TYPE_MISMATCH,
            "batch.values[0].floats",
            id="declared another type",
        ),
        pytest.param(
            changed(values=[Tensor(name="late", floats=[1, 2])]),
            Reason.LENGTH_MISMATCH,
            "batch.values[0].floats",
            id="too many values",
        ),
        pytest.param(
            changed(values=[Tensor(name="late", floats=[1], shape=[1, 2])]),
            Reason.SHAPE_MISMATCH,
            "batch.values[0].shape",
            id="wrong shape",
        ),
        pytest.param(
            changed(values=[Tensor(name="late", floats=[1], null_rows=[1])]),
            Reason.INVALID_ARGUMENT,
            "batch.values[0].null_rows",
            id="null row beyond the end",
        ),
        pytest.param(
            changed(values=[Tensor(name="late", floats=[1])] * 2),
            Reason.INVALID_ARGUMENT,
            "batch.values[1]",
            id="twice",
        ),
        pytest.param(changed(event_time_us=[]), Reason.MISSING_FIELD, "batch.event_time_us", id="no time"),
        pytest.param(changed(event_time_us=[1, 2]), Reason.LENGTH_MISMATCH, "batch.event_time_us", id="two times"),
        pytest.param(changed(event_time_us=[0]), Reason.INVALID_ARGUMENT, "batch.event_time_us[0]", id="time zero"),
    ],
)
async def test_bad_batches_change_nothing(
    features: RunningFeatures, bad: pb.FeatureBatch, reason: Reason, path: str
) -> None:
    """Each has its reason and the path of the field, and nothing of it is stored."""
    with pytest.raises(MeshError) as raised:
        await write(features, bad)

    assert reason == raised.value.reason
    assert [path] == [violation.field for violation in raised.value.violations]
    assert np.isnan(await late(features, "N1", "N", "a")).all()


async def test_nan_is_a_value(features: RunningFeatures) -> None:
    """NaN and infinity are stored as they are: a value need not be finite."""
    await write(features, rows("N1", value=float("inf")))

    assert [float("inf")] == await late(features, "N1")


async def numbered(*batches: tuple[int, pb.FeatureBatch]) -> AsyncIterator[pb.StreamFeaturesRequest]:
    """Return the requests of a stream."""
    for sequence, each in batches:
        yield pb.StreamFeaturesRequest(sequence=sequence, batch=each)


async def test_a_stream_is_acknowledged_in_order(features: RunningFeatures) -> None:
    """Acknowledgements ascend to the last number, their counts add up, and bad batches do not end the stream."""
    batches = [(number, rows(f"N{number % 7}", "M", time_us=NOON_US + number, value=number)) for number in range(1, 50)]
    batches[9] = (10, batch("none", {"tail": ["N"]}, {}))
    batches[19] = (20, rows("", "late", time_us=NOON_US))
    answers = [answer async for answer in features.stub.StreamFeatures(numbered(*batches))]

    acknowledged = [answer.acknowledged_sequence for answer in answers]
    assert sorted(set(acknowledged)) == acknowledged
    assert 49 == acknowledged[-1]
    assert 47 * 2 + 1 == sum(answer.written_rows + answer.superseded_rows for answer in answers)
    rejections = [rejection for answer in answers for rejection in answer.rejected]
    assert [(10, Code.NOT_FOUND, 0), (20, 0, 1)] == [
        (each.sequence, each.batch_status.code, len(each.rows)) for each in rejections
    ]
    assert [49, 49, 48, 1] == await late(features, "M", "N0", "N6", "late")


async def collect(
    features: RunningFeatures, requests: AsyncIterator[pb.StreamFeaturesRequest], note: Callable[[int], None]
) -> None:
    """Send a stream and note what is acknowledged."""
    async for answer in features.stub.StreamFeatures(requests):
        note(answer.acknowledged_sequence)


@pytest.mark.parametrize("numbers", [[0], [1, 1], [5, 4]], ids=str)
async def test_numbers_out_of_order_end_a_stream(features: RunningFeatures, numbers: list[int]) -> None:
    """What came before is acknowledged; then the stream fails with INVALID_ARGUMENT."""
    batches = [(number, rows(f"N{place}")) for place, number in enumerate(numbers)]
    acknowledged: list[int] = []
    with pytest.raises(MeshError) as raised:
        await collect(features, numbered(*batches, (9, rows("after"))), acknowledged.append)

    assert (Code.INVALID_ARGUMENT, ["sequence"]) == (
        raised.value.code,
        [violation.field for violation in raised.value.violations],
    )
    assert numbers[:-1] == acknowledged
    assert np.isnan(await late(features, "after")).all()


async def test_an_empty_stream_ends(features: RunningFeatures) -> None:
    """Nothing sent, nothing acknowledged."""
    assert [] == [answer async for answer in features.stub.StreamFeatures(numbered())]


async def test_a_draining_service_acknowledges_and_ends(features: RunningFeatures) -> None:
    """A stream that is open at the end has what it sent acknowledged, and its client is sent elsewhere."""
    acknowledged: list[int] = []
    hold = asyncio.Event()

    async def endless() -> AsyncIterator[pb.StreamFeaturesRequest]:
        for number in (1, 2, 3):
            yield pb.StreamFeaturesRequest(sequence=number, batch=rows(f"N{number}"))
        await hold.wait()

    sending = asyncio.create_task(collect(features, endless(), acknowledged.append))
    await eventually(lambda: 3 in acknowledged)
    features.service.drain()
    with pytest.raises(MeshError) as raised:
        await sending

    assert (Code.UNAVAILABLE, Reason.SHUTTING_DOWN) == (raised.value.code, raised.value.reason)
    assert [1, 1, 1] == await late(features, "N1", "N2", "N3")


async def test_an_entity_is_deleted_from_every_view(features: RunningFeatures) -> None:
    """All values of the key go, and no other key's."""
    for name in ("demo/routes", "demo/tails"):
        await write(features, batch(name, {"origin": ["EWR", "EWR"], "number": [1, 2]}, {"late": [1, 2]}))
    request = pb.DeleteEntityRequest(entity="demo/route", keys=columns({"origin": ["EWR"], "number": [1]}))

    assert 2 == (await features.stub.DeleteEntity(request)).deleted_views
    assert 0 == (await features.stub.DeleteEntity(request)).deleted_views
    both = plan({"demo/routes": 1, "demo/tails": 1}, {"x": ("FP32", ["demo/routes:late", "demo/tails:late"])})
    response = await features.stub.GetFeatures(query(both, {"origin": ["EWR", "EWR"], "number": [1, 2]}))
    np.testing.assert_equal(np.frombuffer(response.tensors[0], "<f4"), [np.nan, np.nan, 2, 2])


@pytest.mark.parametrize(
    ("entity", "keys", "reason", "path"),
    [
        ("route", {"origin": ["EWR"], "number": [1]}, Reason.UNKNOWN_ENTITY, "entity"),
        ("tail", {}, Reason.MISSING_KEY, "keys"),
        ("tail", {"tail": ["a"], "wing": ["b"]}, Reason.UNKNOWN_ENTITY, "keys[1]"),
        ("tail", {"tail": ["a", "b"]}, Reason.ROWS_OUT_OF_RANGE, "keys"),
        ("tail", {"tail": [""]}, Reason.MISSING_KEY, "keys[0].strings[0]"),
    ],
    ids=str,
)
async def test_bad_deletions(
    features: RunningFeatures, entity: str, keys: dict[str, list[str] | list[int]], reason: Reason, path: str
) -> None:
    """Each has its reason and the path of the field."""
    with pytest.raises(MeshError) as raised:
        await features.stub.DeleteEntity(pb.DeleteEntityRequest(entity=entity, keys=columns(keys)))

    assert reason == raised.value.reason
    assert [path] == [violation.field for violation in raised.value.violations]


async def test_nothing_acknowledged_is_lost_when_the_store_dies(tmp_path: Path) -> None:
    """A store killed in mid-stream ends it with STORE_UNAVAILABLE; what was acknowledged is there when it is back."""
    with valkey("--appendonly", "yes", "--appendfsync", "always") as server:
        async with feature_service(tmp_path, server.url, *VIEWS, over_wire=True) as features:
            acknowledged: list[int] = []

            def note(sequence: int) -> None:
                acknowledged.append(sequence)
                if sequence > 100 and server.process is not None:
                    server.kill()

            async def many() -> AsyncIterator[pb.StreamFeaturesRequest]:
                for number in range(1, 100_000):
                    yield pb.StreamFeaturesRequest(sequence=number, batch=rows(f"N{number}", value=number))

            with pytest.raises(MeshError) as raised:
                await collect(features, many(), note)
            assert Reason.STORE_UNAVAILABLE == raised.value.reason, raised.value.message
            assert Code.UNAVAILABLE == raised.value.code
            server.start()

            expected = list(range(1, acknowledged[-1] + 1))
            found = [value for at in range(0, len(expected), 1000) for value in await late(
                features, *(f"N{number}" for number in expected[at : at + 1000])
            )]  # fmt: skip
            assert expected == found


async def test_without_definitions_the_service_is_not_ready(tmp_path: Path) -> None:
    """A service that has no snapshot says so, and is ready when the first has come."""
    async with feature_service(tmp_path, "memory://", over_wire=False) as features:
        assert "no snapshot" in features.service.ready()
        with pytest.raises(MeshError) as raised:
            await write(features, rows("N1"))
        assert (Code.UNAVAILABLE, Reason.NOT_READY) == (raised.value.code, raised.value.reason)
        await features.publish(*VIEWS)

        assert "" == features.service.ready()


async def test_bytes_that_are_no_message_are_refused(store: Valkey, tmp_path: Path) -> None:
    """Malformed bytes are INVALID_ARGUMENT on a unary call and inside a stream, and text that is not UTF-8 is too."""
    not_utf8 = b"\x0a\x04\x0a\x02\xff\xfe"  # batch.view
    async with (
        feature_service(tmp_path, store.url, *VIEWS, over_wire=True) as features,
        grpc.aio.insecure_channel(features.address) as channel,
    ):
        path = "/predictmesh.features.v1.FeatureService/"
        raw: Any = channel
        calls = [
            raw.unary_unary(path + "GetFeatures")(b"\xff\xff"),
            raw.unary_unary(path + "WriteFeatures")(not_utf8),
            raw.stream_stream(path + "StreamFeatures")([b"\xff\xff"]),
        ]
        for call in calls:
            assert grpc.StatusCode.INVALID_ARGUMENT == await call.code()
