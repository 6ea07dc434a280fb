"""Reads of a store that comes and goes: what is answered, when the store is asked, and who learns of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from prometheus_client import REGISTRY

from services.features import degrading
from services.features.degrading import DegradingStore
from services.features.last_read import LastRead
from services.features.reach import LEAST_FAILURES
from services.features.stores.memory import MemoryStore
from services.mesh.errors import StoreUnavailable
from tests.support.virtual_time import run_virtually
from tests.support.waiting import eventually
from tests.unit.features.test_last_read import row

A1, A2, B1 = b"a1", b"a2", b"b1"


class Fickle(MemoryStore):
    """A store whose parts, named by the first letter of a key, fail while they are among the `gone` or the `hung`."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: set[str] = set()
        self.hung: set[str] = set()
        self.slow_s = 0.0
        self.asked: list[list[bytes]] = []

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.asked.append(list(keys))
        await asyncio.sleep(self.slow_s)
        self._fail(keys)
        return await super().get_many(keys)

    async def put_many(self, keys: Sequence[bytes], rows: Sequence[bytes], ttl_ms: int) -> npt.NDArray[np.bool_]:
        await asyncio.sleep(self.slow_s)
        return await super().put_many(keys, rows, ttl_ms)

    async def probe(self, key: bytes) -> None:
        self._fail([key])

    def part_of(self, key: bytes) -> str:
        return key[:1].decode()

    def _fail(self, keys: Sequence[bytes]) -> None:
        parts = {self.part_of(key) for key in keys}
        if parts & self.gone:
            raise StoreUnavailable("gone")
        if parts & self.hung:
            raise StoreUnavailable("silent") from TimeoutError()


@pytest.fixture
async def fickle() -> Fickle:
    """A store with three rows in two parts."""
    store = Fickle()
    await store.put_many([A1, A2, B1], [row(1), row(2), row(3)], 0)
    return store


@pytest.fixture
async def store(fickle: Fickle) -> AsyncIterator[DegradingStore]:
    """The same, degrading."""
    made = DegradingStore(fickle, LastRead(1_000_000))
    yield made
    await made.stop()


async def found(store: DegradingStore, *keys: bytes) -> tuple[list[bytes | None], list[bool] | None]:
    """Read; return the rows, and which the store did not answer for."""
    stored = await store.read(keys)
    return stored.rows, None if stored.unreached is None else stored.unreached.tolist()


async def open_all(store: DegradingStore, *keys: bytes) -> None:
    """Fail until the parts of the keys are not asked any more."""
    for _ in range(LEAST_FAILURES):
        await store.read(keys)
    assert store.away


async def test_the_memory_is_asked_only_while_the_store_fails(store: DegradingStore, fickle: Fickle) -> None:
    """A store that answers is believed; else what it answered last is, and what nobody has read is not known."""
    assert ([row(1)], None) == await found(store, A1)
    await fickle.put_many([A1], [row(5)], 0)
    assert ([row(5)], None) == await found(store, A1)
    fickle.gone = {"a"}
    assert ([row(5), None], [True, True]) == await found(store, A1, A2)
    fickle.gone = set()
    assert ([row(5), row(2)], None) == await found(store, A1, A2)


async def test_a_store_that_goes_on_failing_is_not_asked(store: DegradingStore, fickle: Fickle) -> None:
    """After some failures memory answers at once; a probe, not a caller, finds the store back."""
    await found(store, A1)
    fickle.gone = {"a"}
    await open_all(store, A1)
    asked = len(fickle.asked)
    for _ in range(10):
        assert ([row(1)], [True]) == await found(store, A1)
    assert asked == len(fickle.asked)
    assert 1 == REGISTRY.get_sample_value("predictmesh_breaker_open", {"hop": "store", "replica": "a"})

    fickle.gone = set()
    await eventually(lambda: not store.away)
    assert ([row(1)], None) == await found(store, A1)
    assert 0 == REGISTRY.get_sample_value("predictmesh_breaker_open", {"hop": "store", "replica": "a"})


async def test_parts_that_are_well_are_asked(store: DegradingStore, fickle: Fickle) -> None:
    """Which part has failed a read of several is found out in the background; the rows of the others come from the store."""
    await found(store, A1, A2, B1)
    fickle.gone = {"b"}
    await open_all(store, A1, B1)
    await eventually(lambda: store.away == ["b"])
    await fickle.put_many([A1], [row(7)], 0)

    assert ([row(7), row(3), row(2)], [False, True, False]) == await found(store, A1, B1, A2)
    assert ([row(7)], None) == await found(store, A1)


async def test_a_part_that_fails_beside_one_that_is_away(store: DegradingStore, fickle: Fickle) -> None:
    """All come from memory then."""
    await found(store, A1, B1)
    fickle.gone = {"b"}
    await open_all(store, B1)
    fickle.gone = {"a", "b"}

    assert ([row(1), row(3)], [True, True]) == await found(store, A1, B1)


async def test_callers_in_a_hurry_say_nothing_of_the_store(store: DegradingStore, fickle: Fickle) -> None:
    """A read that had next to no time is answered from memory, and does not keep others from the store."""
    await found(store, A1)
    fickle.hung = {"a"}
    for _ in range(3 * LEAST_FAILURES):
        assert ([row(1)], [True]) == await found(store, A1)
    assert [] == store.away


def test_a_store_that_hangs_is_not_waited_for_until_the_callers_time_is_over() -> None:
    """Who travels with a caller who has much time has little; memory answers both, and soon without asking first."""

    async def took_s() -> list[float]:
        fickle = Fickle()
        await fickle.put_many([A1], [row(1)], 0)
        store = DegradingStore(fickle, LastRead(1_000_000))
        await store.read([A1])
        fickle.slow_s = 3600.0
        taken = []
        for _ in range(LEAST_FAILURES + 1):
            start = time.monotonic()
            assert ([row(1)], [True]) == await found(store, A1)
            taken.append(time.monotonic() - start)
        await store.stop()
        return taken

    expected_s = [degrading.LEAST_PATIENCE_S] * LEAST_FAILURES + [0.0]
    assert expected_s == pytest.approx(run_virtually(took_s()), abs=0.001)


def test_who_waits_for_others_says_nothing_of_the_store() -> None:
    """Reads beyond those that may be under way are answered in turn; those whose time is over first, from memory."""

    async def answered() -> tuple[list[bool], list[str]]:
        fickle = Fickle()
        await fickle.put_many([A1], [row(1)], 0)
        store = DegradingStore(fickle, LastRead(1_000_000), most=2, timeout_s=1.0)
        await store.read([A1])
        fickle.slow_s = 0.3
        reads = await asyncio.gather(*(found(store, A1) for _ in range(20)))
        assert [[row(1)]] * 20 == [rows for rows, _ in reads]
        return [unreached is None for _, unreached in reads], store.away

    # Four rounds of two begin within the second.
    assert ([True] * 8 + [False] * 12, []) == run_virtually(answered())


def test_a_store_that_hangs_is_not_waited_for_by_those_behind() -> None:
    """When it is found to hang, memory answers those who wait for their turn; changes that hang do not keep reads waiting."""

    async def took_s() -> float:
        fickle = Fickle()
        await fickle.put_many([A1], [row(1)], 0)
        store = DegradingStore(fickle, LastRead(1_000_000), most=LEAST_FAILURES, timeout_s=1.0)
        await store.read([A1])
        fickle.slow_s = 3600.0
        changes = [asyncio.create_task(store.put_many([A1], [row(2)], 0)) for _ in range(LEAST_FAILURES)]
        start = time.monotonic()
        reads = await asyncio.gather(*(found(store, A1) for _ in range(20)))
        assert [([row(1)], [True])] * 20 == reads
        for change in changes:
            change.cancel()
        await asyncio.gather(*changes, return_exceptions=True)
        await store.stop()
        return time.monotonic() - start

    assert degrading.LEAST_PATIENCE_S == pytest.approx(run_virtually(took_s()), abs=0.001)


def test_a_store_that_is_always_slow_is_waited_for() -> None:
    """What nearly all reads take is no reason to do without them."""

    async def away() -> list[str]:
        fickle = Fickle()
        store = DegradingStore(fickle, LastRead(1_000_000))
        for fickle.slow_s in (0.1, 0.2, 0.4, 0.8):
            for _ in range(200):
                assert ([None], None) == await found(store, A1)
        return store.away

    assert [] == run_virtually(away())


async def test_reads_that_had_ample_time_speak_against_the_store(
    store: DegradingStore, fickle: Fickle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that answers nothing for longer than nearly all reads take is not asked, either."""
    await found(store, A1)
    monkeypatch.setattr(degrading, "LEAST_AMPLE_S", 0.0)
    monkeypatch.setattr(degrading, "AMPLE_TIMES", 0.0)
    fickle.hung = {"a"}

    await open_all(store, A1)


async def test_changes_fail_and_are_known_once_they_succeed(store: DegradingStore, fickle: Fickle) -> None:
    """What was written or deleted through this process is never answered staler than that."""
    await found(store, A1, A2)
    await store.put_many([A1], [row(9)], 0)
    assert 1 == await store.delete_many([A2])
    fickle.gone = {"a"}

    assert ([row(9), None], [True, True]) == await found(store, A1, A2)


async def test_a_caller_who_leaves_is_not_answered(store: DegradingStore, fickle: Fickle) -> None:
    """Cancelled while the store works, a read ends there and is nobody's failure."""
    started = asyncio.Event()

    async def for_ever(keys: Sequence[bytes]) -> list[bytes | None]:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError(keys)

    fickle.get_many = for_ever  # type: ignore[method-assign]
    reading = asyncio.create_task(store.read([A1]))
    await started.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert [] == store.away
