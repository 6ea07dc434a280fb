"""What GetFeatures answers while the store does not: values last read by the view's policy, else defaults, and it says so."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from predictmesh.features.v1 import features_service_pb2 as pb
from predictmesh.registry.v1.feature_view_pb2 import FeatureView, StalePolicy
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.features.convert import decode_batch, decode_catalog, decode_query, encode_values
from services.features.degrading import DegradingStore
from services.features.ingest import Ingest
from services.features.last_read import LastRead
from services.features.plans import Plans
from services.features.serving import Serving
from services.features.stores.memory import MemoryStore
from services.mesh.errors import StoreUnavailable
from tests.support.feature_views import NOON_US, SECOND_US, batch, field, plan, query, snapshot, view
from tests.unit.features.test_serving import NO_AGE, ages, missing, numbers, statuses

S = pb.FeatureState
HALF = Tensor(floats=[0.5])
RATE = plan({"carrier": 1}, {"x": ("FP32", ["carrier:rate", "carrier.age"])})


def carrier(policy: StalePolicy.ValueType = StalePolicy.STALE_POLICY_SERVE, *, ttl_ms: int = 0) -> FeatureView:
    """Return a view of one field whose default is a half, and whose values may be a minute old."""
    return view("carrier", [field("rate", "FP32", HALF)], max_age_ms=60_000, stale_policy=policy, ttl_ms=ttl_ms)


class Gone(MemoryStore):
    """A store in memory that can be gone."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = False

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if self.gone:
            raise StoreUnavailable("gone")
        return await super().get_many(keys)


class Features:
    """Reads of a store that is well until `gone` is set."""

    def __init__(self) -> None:
        self.inner = Gone()
        self.store = DegradingStore(self.inner, LastRead(1_000_000))
        self.plans = Plans(3)
        self.serving = Serving(self.store, self.plans, max_rows=8)

    def use(self, *views: FeatureView) -> None:
        self.plans.use(decode_catalog(snapshot(*views)))

    async def write(self, rows: pb.FeatureBatch) -> None:
        await Ingest(self.store, lambda: self.plans.catalog, max_rows=100).write(decode_batch(rows))

    async def read(self, request: pb.GetFeaturesRequest) -> pb.GetFeaturesResponse:
        return encode_values(await self.serving.read(decode_query(request)))

    async def rates(self, *carriers: str, at_s: int = 1, origins: bool = False) -> pb.GetFeaturesResponse:
        """Read rates and ages of carriers, some seconds after noon."""
        return await self.read(query(RATE, {"carrier": carriers}, NOON_US + at_s * SECOND_US, origins=origins))


@pytest.fixture
async def features() -> AsyncIterator[Features]:
    """Reads of a view that serves what is too old."""
    made = Features()
    made.use(carrier())
    yield made
    await made.store.stop()


def unreached(response: pb.GetFeaturesResponse) -> list[tuple[int, list[int]]]:
    """Return (view, rows) of what the store did not answer for."""
    return [(each.view, list(each.rows)) for each in response.unreached]


async def known(features: Features, *carriers: str) -> None:
    """Store rates of 1, 2, ..., read them, and lose the store."""
    rates = [float(number) for number in range(1, len(carriers) + 1)]
    await features.write(batch("carrier", {"carrier": carriers}, {"rate": rates}))
    assert [] == unreached(await features.rates(*carriers))
    features.inner.gone = True


async def test_values_last_read_are_served_with_their_ages(features: Features) -> None:
    """A value from memory is as old as it is, and is no default."""
    await known(features, "UA", "AA")
    response = await features.rates("AA", "UA", at_s=30)

    assert [[2, 30], [1, 30]] == numbers(response.tensors[0], 2)
    assert [30 * SECOND_US] * 2 == ages(response)
    assert ([], [(0, [])]) == (statuses(response), unreached(response))


@pytest.mark.parametrize(
    ("policy", "state", "rate"),
    [
        (StalePolicy.STALE_POLICY_SERVE, S.FEATURE_STATE_STALE_SERVED, 1),
        (StalePolicy.STALE_POLICY_DEFAULT, S.FEATURE_STATE_STALE_DEFAULTED, 0.5),
        (StalePolicy.STALE_POLICY_REJECT, S.FEATURE_STATE_STALE_REJECTED, 1),
    ],
)
async def test_the_age_policy_holds_for_them(
    features: Features, policy: StalePolicy.ValueType, state: int, rate: float
) -> None:
    """A remembered value that is too old is treated as a stored one would be."""
    features.use(carrier(policy))
    await known(features, "UA")
    response = await features.rates("UA", at_s=61)

    assert rate == numbers(response.tensors[0], 1)[0][0]
    assert ([(0, 0, state)], [(0, [])]) == (statuses(response), unreached(response))


@pytest.mark.parametrize(
    ("policy", "state"),
    [
        (StalePolicy.STALE_POLICY_SERVE, S.FEATURE_STATE_ABSENT),
        (StalePolicy.STALE_POLICY_DEFAULT, S.FEATURE_STATE_ABSENT),
        (StalePolicy.STALE_POLICY_REJECT, S.FEATURE_STATE_STALE_REJECTED),
    ],
)
async def test_what_is_not_known_gets_the_default(
    features: Features, policy: StalePolicy.ValueType, state: int
) -> None:
    """The row says that nothing is known of it; a view that rejects what is too old rejects what may be."""
    features.use(carrier(policy))
    await known(features, "UA")
    response = await features.rates("UA", "new", "UA", "new")

    assert [1, 0.5, 1, 0.5] == [rate for rate, _ in numbers(response.tensors[0], 4)]
    assert np.isnan([age for _, age in numbers(response.tensors[0], 4)]).tolist() == [False, True] * 2
    assert [SECOND_US, NO_AGE] * 2 == ages(response)
    assert ([(1, 0, state), (3, 0, state)], [(0, [])]) == (statuses(response), unreached(response))


async def test_a_type_without_null_and_default_is_missing(features: Features) -> None:
    """As where nothing is stored."""
    features.use(view("carrier", {"count": "INT32"}))
    features.inner.gone = True
    of_count = plan({"carrier": 1}, {"x": ("INT32", ["carrier:count"])})
    response = await features.read(query(of_count, {"carrier": ["UA"]}))

    assert ([(0, 0, 0)], [(0, [])]) == (missing(response), unreached(response))


async def test_origins_tell_memory_from_defaults(features: Features) -> None:
    """Whoever asks why learns which is which."""
    await known(features, "UA")
    response = await features.rates("UA", "new", origins=True)

    memory = [pb.ELEMENT_ORIGIN_MEMORY] * 2
    assert [*memory, pb.ELEMENT_ORIGIN_DEFAULT, pb.ELEMENT_ORIGIN_NULL] == list(response.origins[0])


async def test_only_views_in_question_are_told_of(features: Features) -> None:
    """Where a part of the store answers, its rows are as always."""
    hub = view("hub", [field("size", "FP32", HALF)], entity="hub")
    features.use(carrier(), hub)
    await known(features, "UA", "AA")
    features.inner.gone = False
    await features.write(batch("hub", {"hub": ["EWR", "JFK"]}, {"size": [3, 4]}))
    features.inner.part_of = lambda key: "carriers" if b"{carrier:" in key else "hubs"  # type: ignore[method-assign]
    features.store._reach.away.add("carriers")  # what three failures would do
    both = plan({"hub": 1, "carrier": 1}, {"x": ("FP32", ["hub:size", "carrier:rate"])})
    response = await features.read(query(both, {"hub": ["EWR", "JFK"], "carrier": ["AA", "new"]}))

    assert [[3, 2], [4, 0.5]] == numbers(response.tensors[0], 2)
    assert ([(1, 1, S.FEATURE_STATE_ABSENT)], [(1, [])]) == (statuses(response), unreached(response))


async def test_what_the_store_would_have_dropped_is_not_served(features: Features) -> None:
    """A value that came true longer ago than it lives counts as gone, whenever it was written."""
    now_us = time.time_ns() // 1000
    features.use(carrier(ttl_ms=3_600_000))
    times = [now_us - 3_000 * SECOND_US, now_us - 4_000 * SECOND_US]
    await features.write(batch("carrier", {"carrier": ["UA", "AA"]}, {"rate": [1, 2]}, *times))
    await features.read(query(RATE, {"carrier": ["UA", "AA"]}, now_us))
    features.inner.gone = True
    response = await features.read(query(RATE, {"carrier": ["UA", "AA"]}, now_us))

    assert [1, 0.5] == [rate for rate, _ in numbers(response.tensors[0], 2)]
