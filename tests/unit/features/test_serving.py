"""What GetFeatures answers: values, ages, what is not fresh, what is missing, and where each element came from."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest

from predictmesh.features.v1 import features_service_pb2 as pb
from predictmesh.registry.v1.feature_view_pb2 import FeatureView, StalePolicy
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.features.convert import decode_batch, decode_catalog, decode_query, encode_values
from services.features.degrading import DegradingStore
from services.features.errors import UnknownPlan, ViewNotKnownYet
from services.features.ingest import Ingest
from services.features.last_read import LastRead
from services.features.plans import Plans
from services.features.serving import Serving
from services.features.stores.memory import MemoryStore
from services.mesh.errors import MeshError, Reason
from tests.support.feature_views import NOON_US, SECOND_US, batch, field, plan, query, snapshot, view

NO_AGE = -(2**63)
S = pb.FeatureState


class Features:
    """Serving and ingest over a store in memory."""

    def __init__(self, *views: FeatureView) -> None:
        self.store = MemoryStore()
        self.plans = Plans(3)
        self.use(*views)
        self.ingest = Ingest(self.store, lambda: self.plans.catalog, max_rows=100)
        self.serving = Serving(DegradingStore(self.store, LastRead(0)), self.plans, max_rows=8)

    def use(self, *views: FeatureView) -> None:
        self.plans.use(decode_catalog(snapshot(*views)))

    async def write(self, rows: pb.FeatureBatch) -> None:
        written = await self.ingest.write(decode_batch(rows))
        assert not written.rejected

    async def read(self, request: pb.GetFeaturesRequest) -> pb.GetFeaturesResponse:
        return encode_values(await self.serving.read(decode_query(request)))


def numbers(packed: bytes, rows: int, dtype: str = "<f4") -> list[list[float]]:
    """Return a packed tensor row by row."""
    return np.frombuffer(packed, dtype).reshape(rows, -1).tolist()


def ages(response: pb.GetFeaturesResponse) -> list[int]:
    """Return the ages."""
    return np.frombuffer(response.ages_us, "<i8").tolist()  # type: ignore[no-any-return]


def statuses(response: pb.GetFeaturesResponse) -> list[tuple[int, int, int]]:
    """Return (row, view, state) of what is not fresh."""
    return [(each.row, each.view, each.state) for each in response.statuses]


def missing(response: pb.GetFeaturesResponse) -> list[tuple[int, int, int]]:
    """Return (row, tensor, source) of what is missing."""
    return [(each.row, each.tensor, each.source) for each in response.missing]


CARRIER = view("carrier", {"rate": "FP32", "delay": "FP32"}, max_age_ms=60_000)
ROUTE = view("route", {"flights": "FP32"}, entity="route", keys={"origin": "STRING", "number": "INT64"})
BOTH = plan({"carrier": 1, "route": 1}, {"x": ("FP32", ["carrier:rate", "carrier:delay", "route:flights"])})


async def test_values_of_several_views_are_packed_row_by_row() -> None:
    """One tensor holds the elements in the order of the plan, whatever view they come from."""
    features = Features(CARRIER, ROUTE)
    await features.write(batch("carrier", {"carrier": ["UA", "AA"]}, {"rate": [1, 2], "delay": [3, 4]}))
    await features.write(batch("route", {"origin": ["EWR", "JFK"], "number": [7, 8]}, {"flights": [5, 6]}, NOON_US - 9))
    keys: dict[str, list[str] | list[int]] = {
        "carrier": ["AA", "UA"],
        "origin": ["EWR", "JFK"],
        "number": [7, 8],
        "unused": ["x", "y"],
    }
    response = await features.read(query(BOTH, keys, NOON_US + SECOND_US))

    assert [[2, 4, 5], [1, 3, 6]] == numbers(response.tensors[0], 2)
    assert [SECOND_US, SECOND_US + 9] * 2 == ages(response)
    assert [] == statuses(response) == missing(response)
    assert [] == list(response.origins)


async def test_each_row_has_its_own_time() -> None:
    """Ages count from the row's own as_of, and a value from after it says so."""
    features = Features(CARRIER)
    await features.write(batch("carrier", {"carrier": ["UA"]}, {"rate": [1], "delay": [2]}))
    one = plan({"carrier": 1}, {"x": ("FP32", ["carrier:rate", "carrier.age"])})
    response = await features.read(query(one, {"carrier": ["UA", "UA"]}, NOON_US + SECOND_US, NOON_US - SECOND_US))

    assert [[1, 1], [1, -1]] == numbers(response.tensors[0], 2)
    assert [SECOND_US, -SECOND_US] == ages(response)
    assert [(1, 0, S.FEATURE_STATE_AHEAD)] == statuses(response)


@pytest.mark.parametrize("absent_first", [True, False])
async def test_an_entity_never_seen_gets_the_defaults(absent_first: bool) -> None:
    """Nothing stored: defaults, NaN without one, no age, status ABSENT; the neighbours have their values."""
    half = Tensor(floats=[0.5])
    features = Features(view("carrier", [field("rate", "FP32", half), field("delay", "FP32")]))
    await features.write(batch("carrier", {"carrier": ["UA"]}, {"rate": [1], "delay": [2]}))
    one = plan({"carrier": 1}, {"x": ("FP32", ["carrier:rate", "carrier:delay", "carrier.age"])})
    names = ["??", "UA"] if absent_first else ["UA", "??"]
    response = await features.read(query(one, {"carrier": names}, NOON_US + SECOND_US, origins=True))
    absent = 0 if absent_first else 1

    rows = numbers(response.tensors[0], 2)
    assert 0.5 == rows[absent][0]
    assert np.isnan(rows[absent][1:]).all()
    assert [1, 2, 1] == rows[1 - absent]
    assert NO_AGE == ages(response)[absent]
    assert [(absent, 0, S.FEATURE_STATE_ABSENT)] == statuses(response)
    assert [] == missing(response)
    origins = np.frombuffer(response.origins[0], np.uint8).reshape(2, 3).tolist()
    assert [pb.ELEMENT_ORIGIN_DEFAULT, pb.ELEMENT_ORIGIN_NULL, pb.ELEMENT_ORIGIN_NULL] == origins[absent]
    assert [pb.ELEMENT_ORIGIN_STORE] * 3 == origins[1 - absent]


@pytest.mark.parametrize(
    ("policy", "state", "value"),
    [
        (StalePolicy.STALE_POLICY_UNSPECIFIED, S.FEATURE_STATE_STALE_SERVED, [1.0, 61.0]),
        (StalePolicy.STALE_POLICY_SERVE, S.FEATURE_STATE_STALE_SERVED, [1.0, 61.0]),
        (StalePolicy.STALE_POLICY_DEFAULT, S.FEATURE_STATE_STALE_DEFAULTED, [0.5, float("nan")]),
        (StalePolicy.STALE_POLICY_REJECT, S.FEATURE_STATE_STALE_REJECTED, [1.0, 61.0]),
    ],
)
async def test_what_is_too_old_goes_by_the_policy(
    policy: StalePolicy.ValueType, state: S.ValueType, value: list[float]
) -> None:
    """A value older than the view allows is served, replaced, or left for the caller to refuse; its age is told."""
    rate = field("rate", "FP32", Tensor(floats=[0.5]))
    features = Features(view("carrier", [rate], max_age_ms=60_000, stale_policy=policy))
    await features.write(batch("carrier", {"carrier": ["UA", "AA"]}, {"rate": [1, 2]}, NOON_US, NOON_US + SECOND_US))
    one = plan({"carrier": 1}, {"x": ("FP32", ["carrier:rate", "carrier.age"])})
    response = await features.read(query(one, {"carrier": ["UA", "AA"]}, NOON_US + 61 * SECOND_US))

    stale, fresh = numbers(response.tensors[0], 2)
    np.testing.assert_equal(stale, value)
    assert [2, 60] == fresh
    assert [61 * SECOND_US, 60 * SECOND_US] == ages(response)
    assert [(0, 0, state)] == statuses(response)


async def test_a_null_is_the_default_or_nan_or_missing() -> None:
    """A stored null takes the default; without one a float is NaN, and any other type is missing and zero."""
    fields = [
        field("a", "INT64", Tensor(ints=[7])),
        field("b", "INT64"),
        field("c", "INT64", Tensor(ints=[8, 9]), length=2),
    ]
    features = Features(view("carrier", [*fields, field("d", "FP64")]))
    values = {
        "a": Tensor(ints=[1, 99], null_rows=[1]),
        "b": Tensor(ints=[2, 99], null_rows=[1]),
        "c": Tensor(ints=[3, 4, 99, 99], null_rows=[1]),
        "d": Tensor(doubles=[5, 99], null_rows=[1]),
    }
    await features.write(batch("carrier", {"carrier": ["UA", "AA"]}, values))
    two = plan(
        {"carrier": 1},
        {"x": ("INT64", ["request:r", "carrier:a", "carrier:b", "carrier:c"]), "y": ("FP64", ["carrier:d"])},
    )
    response = await features.read(query(two, {"carrier": ["UA", "AA"]}, origins=True))

    assert [[0, 1, 2, 3, 4], [0, 7, 0, 8, 9]] == numbers(response.tensors[0], 2, "<i8")
    np.testing.assert_equal(numbers(response.tensors[1], 2, "<f8"), [[5], [float("nan")]])
    assert [(1, 0, 2)] == missing(response)
    assert [] == statuses(response)
    assert [[0, 1, 1, 1], [0, 2, 3, 2]] == np.frombuffer(response.origins[0], np.uint8).reshape(2, 4).tolist()


async def test_fields_out_of_order_and_of_every_width_find_their_place() -> None:
    """The plan's order is its own, not that of the view."""
    kinds = {"a": "FP16", "b": "FP32", "c": "UINT8", "d": "FP16", "e": "BOOL", "f": "UINT64"}
    features = Features(view("carrier", kinds))
    values = {
        "a": Tensor(floats=[0.5]),
        "b": Tensor(floats=[1.5]),
        "c": Tensor(ints=[200]),
        "d": Tensor(floats=[2.5]),
        "e": Tensor(bools=[True]),
        "f": Tensor(uints=[2**64 - 1]),
    }
    await features.write(batch("carrier", {"carrier": ["UA"]}, values))
    tensors = {
        "h": ("FP16", ["carrier:d", "request:r", "carrier:a"]),
        "u": ("UINT64", ["carrier:f"]),
        "s": ("FP32", ["carrier.age", "carrier:b"]),
        "e": ("BOOL", ["carrier:e"]),
        "c": ("UINT8", ["carrier:c"]),
    }
    response = await features.read(query(plan({"carrier": 1}, tensors), {"carrier": ["UA"]}))

    assert np.array([2.5, 0, 0.5], "<f2").tobytes() == response.tensors[0]
    assert struct.pack("<Q", 2**64 - 1) == response.tensors[1]
    assert struct.pack("<ff", 0, 1.5) == response.tensors[2]
    assert [b"\1", b"\xc8"] == list(response.tensors[3:])


async def test_texts_are_packed_behind_their_lengths() -> None:
    """BYTES elements: stored, of lists, null, absent, and places left for the request."""
    fields = [field("t", "BYTES", Tensor(strings=["none"])), field("l", "BYTES", length=2)]
    features = Features(view("carrier", fields))
    values = {
        "t": Tensor(strings=["ü", ""], null_rows=[1]),
        "l": Tensor(blobs=[b"\xff", b"", b"a", b"b"]),
    }
    await features.write(batch("carrier", {"carrier": ["UA", "AA"]}, values))
    one = plan({"carrier": 1}, {"x": ("BYTES", ["carrier:l", "request:r", "carrier:t"])})
    response = await features.read(query(one, {"carrier": ["UA", "AA", "??"]}))

    assert [b"\xff", b"", b"", "ü".encode(), b"a", b"b", b"", b"none", b"", b"", b"", b"none"] == texts(
        response.tensors[0]
    )
    assert [(2, 0, 0)] == missing(response)


def texts(packed: bytes) -> list[bytes]:
    """Return the elements of a packed BYTES tensor."""
    found = []
    while packed:
        (size,) = struct.unpack_from("<I", packed)
        found.append(packed[4 : 4 + size])
        packed = packed[4 + size :]
    return found


async def test_equal_keys_are_read_once() -> None:
    """A batch asks the store for each key once, and every row gets its value, fresh or not."""
    features = Features(CARRIER)
    asked: list[int] = []
    get_many = features.store.get_many

    async def counting(keys: Sequence[bytes]) -> list[bytes | None]:
        asked.append(len(keys))
        return await get_many(keys)

    features.store.get_many = counting  # type: ignore[method-assign]
    await features.write(batch("carrier", {"carrier": ["UA"]}, {"rate": [1], "delay": [2]}))
    one = plan({"carrier": 1}, {"x": ("FP32", ["carrier:rate"])})
    response = await features.read(query(one, {"carrier": ["UA", "??", "UA", "??"]}))

    assert [2] == asked
    np.testing.assert_equal(numbers(response.tensors[0], 4), [[1], [float("nan")], [1], [float("nan")]])
    assert [(1, 0, S.FEATURE_STATE_ABSENT), (3, 0, S.FEATURE_STATE_ABSENT)] == statuses(response)


async def test_views_of_one_entity_share_the_key() -> None:
    """Two views keyed alike are read by one column."""
    features = Features(CARRIER, view("carrier_today", {"flights": "FP32"}))
    await features.write(batch("carrier", {"carrier": ["UA"]}, {"rate": [1], "delay": [2]}))
    await features.write(batch("carrier_today", {"carrier": ["UA"]}, {"flights": [3]}))
    two = plan({"carrier_today": 1, "carrier": 1}, {"x": ("FP32", ["carrier_today:flights", "carrier:rate"])})

    assert [[3, 1]] == numbers((await features.read(query(two, {"carrier": ["UA"]}))).tensors[0], 1)


async def test_rows_of_an_older_schema_get_the_defaults_of_newer_fields() -> None:
    """A view that has grown serves what was stored before, and plans made before go on."""
    features = Features(CARRIER)
    await features.write(batch("carrier", {"carrier": ["UA"]}, {"rate": [1], "delay": [2]}))
    before = plan({"carrier": 1}, {"x": ("FP32", ["carrier:delay"])})
    await features.read(query(before, {"carrier": ["UA"]}))
    grown = [field("rate", "FP32"), field("delay", "FP32"), field("seats", "INT32", Tensor(ints=[180]))]
    features.use(view("carrier", grown, schemas={1: 2, 5: 3}))
    await features.write(
        batch("carrier", {"carrier": ["AA"]}, {"rate": [3], "delay": [4], "seats": Tensor(ints=[100])})
    )
    after = plan({"carrier": 5}, {"x": ("FP32", ["carrier:delay"]), "n": ("INT32", ["carrier:seats"])})
    response = await features.read(query(after, {"carrier": ["UA", "AA"]}))
    known = query(before, {"carrier": ["UA"]})
    known.ClearField("plan")

    assert [[2], [4]] == numbers(response.tensors[0], 2)
    assert [[180], [100]] == numbers(response.tensors[1], 2, "<i4")
    assert [[2]] == numbers((await features.read(known)).tensors[0], 1)


async def test_a_corrupt_row_counts_as_absent(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be decoded is not served; it is logged once a cause, and counted."""
    features = Features(CARRIER)
    await features.write(batch("carrier", {"carrier": ["UA", "AA"]}, {"rate": [1, 1], "delay": [2, 2]}))
    key = next(key for key in features.store._rows)
    features.store._rows[key] = (b"\1garbage", float("inf"))
    one = plan({"carrier": 1}, {"x": ("FP32", ["carrier:rate"])})
    for _ in range(3):
        response = await features.read(query(one, {"carrier": ["UA", "AA"]}))
        assert [(0, 0, S.FEATURE_STATE_ABSENT)] == statuses(response)

    assert 1 == caplog.text.count("cannot be decoded")


async def test_a_plan_is_known_by_its_id_until_it_is_pushed_out() -> None:
    """The plan is sent once; the least recently used of too many is forgotten."""
    features = Features(CARRIER)
    plans = [plan({"carrier": 1}, {f"x{number}": ("FP32", ["carrier:rate"])}) for number in range(4)]
    requests = []
    for each in plans:
        request = query(each, {"carrier": ["UA"]})
        await features.read(request)
        request.ClearField("plan")
        requests.append(request)
    with pytest.raises(UnknownPlan):
        await features.read(requests[0])
    for request in requests[1:]:
        await features.read(request)


@pytest.mark.parametrize("wanted", [{"carrier": 2}, {"other": 1}])
async def test_a_plan_of_a_view_that_has_not_arrived_waits_for_it(wanted: dict[str, int]) -> None:
    """UNKNOWN_VIEW and FAILED_PRECONDITION until the snapshot has come, an answer from then on."""
    features = Features(CARRIER)
    (name,) = wanted
    request = query(plan(wanted, {"x": ("FP32", [f"{name}:rate"])}), {"carrier": ["UA"]})
    with pytest.raises(ViewNotKnownYet):
        await features.read(request)
    grown = view("carrier", {"rate": "FP32", "delay": "FP32", "more": "FP32"}, schemas={1: 2, 2: 3})
    features.use(grown, view("other", {"rate": "FP32"}))

    assert 1 == len((await features.read(request)).tensors)


GOOD = query(BOTH, {"carrier": ["UA"], "origin": ["EWR"], "number": [7]})


def changed(**changes: object) -> pb.GetFeaturesRequest:
    """Return a good request with fields replaced."""
    request = pb.GetFeaturesRequest()
    request.CopyFrom(GOOD)
    for name, value in changes.items():
        request.ClearField(name)  # type: ignore[arg-type]
        request.MergeFrom(pb.GetFeaturesRequest(**{name: value}))  # type: ignore[arg-type]
    return request


def keyed(**columns: Tensor) -> pb.GetFeaturesRequest:
    """Return a good request with key columns replaced."""
    tensors = {each.name: each for each in GOOD.keys} | columns
    for name, tensor in tensors.items():
        tensor.name = name
    return changed(keys=list(tensors.values()))


def planned(tensors: dict[str, tuple[str, list[str]]], views: dict[str, int] | None = None) -> pb.GetFeaturesRequest:
    """Return a request with a plan of these tensors."""
    return query(plan(views or {"carrier": 1}, tensors), {"carrier": ["UA"]})


@pytest.mark.parametrize(
    ("request_", "reason", "path"),
    [
        pytest.param(changed(plan_id=b"x"), Reason.INVALID_ARGUMENT, "plan_id", id="id is not that of the plan"),
        pytest.param(changed(keys=[]), Reason.MISSING_KEY, "keys", id="no keys"),
        pytest.param(keyed(carrier=Tensor()), Reason.MISSING_KEY, "keys[0]", id="no rows"),
        pytest.param(keyed(carrier=Tensor(strings=[""])), Reason.MISSING_KEY, "keys[0].strings[0]", id="empty key"),
        pytest.param(
            keyed(carrier=Tensor(strings=["x" * 2**20])), Reason.KEY_TOO_LONG, "keys[0].strings[0]", id="1 MiB key"
        ),
        pytest.param(
            keyed(carrier=Tensor(strings=["a", "b"])), Reason.LENGTH_MISMATCH, "keys[1]", id="unequal lengths"
        ),
        pytest.param(
            keyed(number=Tensor(ints=[1, 2])), Reason.LENGTH_MISMATCH, "keys[2]", id="unequal lengths of one entity"
        ),
        pytest.param(keyed(carrier=Tensor(ints=[1])), Reason.TYPE_MISMATCH, "keys[0].ints", id="number for text"),
        pytest.param(
            keyed(number=Tensor(strings=["1"])), Reason.TYPE_MISMATCH, "keys[2].strings", id="text for number"
        ),
        pytest.param(
            keyed(carrier=Tensor(strings=["a"], null_rows=[0])), Reason.SHAPE_MISMATCH, "keys[0]", id="null key"
        ),
        pytest.param(
            keyed(carrier=Tensor(strings=["a"], ints=[1])), Reason.INVALID_ARGUMENT, "keys[0]", id="two kinds of values"
        ),
        pytest.param(
            keyed(carrier=Tensor(strings=["a"], data_type=99)),  # type: ignore[arg-type]
            Reason.INVALID_ARGUMENT,
            "keys[0].data_type",
            id="no such type",
        ),
        pytest.param(changed(keys=[*GOOD.keys, GOOD.keys[0]]), Reason.INVALID_ARGUMENT, "keys[3]", id="column twice"),
        pytest.param(
            query(planned({"x": ("FP32", ["carrier:rate"])}).plan, {"carrier": ["a"] * 9}),
            Reason.ROWS_OUT_OF_RANGE,
            "keys",
            id="too many rows",
        ),
        pytest.param(changed(as_of_us=[]), Reason.MISSING_FIELD, "as_of_us", id="no time"),
        pytest.param(changed(as_of_us=[1, 2]), Reason.LENGTH_MISMATCH, "as_of_us", id="too many times"),
        pytest.param(changed(as_of_us=[-(2**63)]), Reason.INVALID_ARGUMENT, "as_of_us", id="before the epoch"),
        pytest.param(planned({}), Reason.INVALID_ARGUMENT, "plan", id="empty plan"),
        pytest.param(
            planned({"x": ("FP32", ["other:rate"])}),
            Reason.INVALID_ARGUMENT,
            "plan.tensors[0].sources[0]",
            id="view that the plan does not list",
        ),
        pytest.param(
            planned({"x": ("FP32", ["carrier:rate", "carrier:what"])}),
            Reason.UNKNOWN_FIELD,
            "plan.tensors[0].sources[1]",
            id="no such field",
        ),
        pytest.param(
            planned({"x": ("FP64", ["carrier:rate"])}),
            Reason.TYPE_MISMATCH,
            "plan.tensors[0].sources[0]",
            id="field of another type",
        ),
        pytest.param(
            planned({"x": ("FP64", ["carrier.age"])}),
            Reason.TYPE_MISMATCH,
            "plan.tensors[0].sources[0]",
            id="age of another type",
        ),
        pytest.param(
            planned({"x": ("FP32", ["carrier:rate"])}, {"carrier": 9}),
            Reason.UNKNOWN_VIEW,
            "plan.views[0].schema_id",
            id="schema not known yet",
        ),
    ],
)
async def test_bad_requests(request_: pb.GetFeaturesRequest, reason: Reason, path: str) -> None:
    """Each bad request has its reason and the path of the field."""
    features = Features(CARRIER, ROUTE)
    with pytest.raises(MeshError) as raised:
        await features.read(request_)

    assert reason == raised.value.reason
    assert [path] == [violation.field for violation in raised.value.violations]
