"""Keeping the newest snapshot in object storage."""

from __future__ import annotations

import asyncio

import pytest

from services.mesh.errors import StoreUnavailable
from services.registry import mirror as mirror_module
from services.registry.catalog import Catalog
from services.registry.ledger import Revision
from services.registry.mirror import Mirror
from services.registry.newest import Newest
from tests.support.waiting import eventually


class Bucket:
    """Object storage that fails as often as it is told, and writes when it is let."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.open = asyncio.Event()
        self.open.set()
        self.written: list[bytes] = []

    async def put(self, path: str, data: bytes) -> None:
        await self.open.wait()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the bucket is away")
        self.written.append(data)


def revision(number: int) -> Revision:
    """A revision of an empty registry."""
    return Revision("log", number, Catalog())


def serialize(revision: Revision) -> bytes:
    """Its number."""
    return str(revision.number).encode()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "RETRY_S", (0.001, 0.002))


async def test_a_failed_write_is_made_again() -> None:
    """Storage that comes back gets the snapshot without another change."""
    bucket = Bucket(failures=3)
    async with Mirror(Newest(revision(1)), bucket, "path", serialize).running() as mirror:
        await eventually(lambda: mirror.revision == 1)
    assert bucket.written == [b"1"]


async def test_only_the_newest_is_written() -> None:
    """Changes that come during a write are one write."""
    bucket, newest = Bucket(), Newest(revision(1))
    bucket.open.clear()
    async with Mirror(newest, bucket, "path", serialize).running() as mirror:
        await asyncio.sleep(0)
        for number in range(2, 20):
            newest.set(revision(number))
        bucket.open.set()
        await eventually(lambda: mirror.revision == 19)
    assert len(bucket.written) <= 2
    assert bucket.written[-1] == b"19"


async def test_a_change_after_the_watchers_have_gone_is_written() -> None:
    """Draining ends watches, but the last writes still reach readers."""
    bucket, newest = Bucket(), Newest(revision(1))
    async with Mirror(newest, bucket, "path", serialize).running() as mirror:
        await eventually(lambda: mirror.revision == 1)
        newest.close()
        newest.set(revision(2))
    assert bucket.written[-1] == b"2"


class Stubborn(Bucket):
    """Object storage that goes on with a write when its caller has gone, as a thread does; the first one is slow."""

    def __init__(self) -> None:
        super().__init__()
        self.open.clear()
        self.writes: list[asyncio.Task[None]] = []

    async def put(self, path: str, data: bytes) -> None:
        self.writes.append(asyncio.create_task(self._write(data, slow=not self.writes)))
        await asyncio.shield(self.writes[-1])

    async def _write(self, data: bytes, *, slow: bool) -> None:
        if slow:
            await self.open.wait()
        self.written.append(data)


async def test_a_write_amid_which_the_registry_stops_does_not_undo_the_last() -> None:
    """The newest is written after it, not beside it."""
    bucket, newest = Stubborn(), Newest(revision(1))

    async def stopped() -> None:
        async with Mirror(newest, bucket, "path", serialize).running():
            await eventually(lambda: bool(bucket.writes))
            newest.set(revision(2))

    stopping = asyncio.create_task(stopped())
    await eventually(lambda: newest.value.number == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    bucket.open.set()
    await stopping
    await asyncio.gather(*bucket.writes)
    assert bucket.written == [b"1", b"2"]


async def test_a_stop_does_not_wait_for_storage_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has everything; the snapshot follows at the next start."""
    monkeypatch.setattr(mirror_module, "CLOSING_S", 0.02)
    bucket = Bucket(failures=10**9)
    async with asyncio.timeout(10), Mirror(Newest(revision(1)), bucket, "path", serialize).running() as mirror:
        pass
    assert mirror.revision is None
