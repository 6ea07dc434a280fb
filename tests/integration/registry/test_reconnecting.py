"""Readers of a registry that is killed and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.mesh.channel import open_stub
from services.mesh.snapshots import SnapshotReader
from tests.support.definitions import view
from tests.support.registry import Client, registry
from tests.support.waiting import eventually
from tests.worlds.parts import Part

READERS = 10
# The longest pause of a reader and of its channel, and some time to connect.
LIMIT_S = 5.0


class Reader:
    """One reader over a connection of its own; `seen` are the revisions that it was given."""

    def __init__(self, stub: Any) -> None:
        self.reads = SnapshotReader(stub, subscriber="test", objects=None, cache=None)
        self.seen: list[int] = []
        self.reads.subscribe(self._take)

    def _take(self, snapshot: Snapshot) -> None:
        assert snapshot.revision == len(snapshot.feature_views)
        self.seen.append(snapshot.revision)


@asynccontextmanager
async def reader(address: str) -> AsyncIterator[Reader]:
    """A reader for the time of the context."""
    async with open_stub(address, RegistryServiceStub) as stub:
        made = Reader(stub)
        async with made.reads:
            yield made


@asynccontextmanager
async def readers(address: str) -> AsyncIterator[list[Reader]]:
    """All of them."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(reader(address)) for _ in range(READERS)]


async def test_all_readers_come_back_to_the_newest(tmp_path: Path) -> None:
    """Ten at once, of a registry that was killed: they keep what they have, then get what is newest and nothing else."""
    process = Part("registry", tmp_path / "registry", {"objects": f"file://{tmp_path}/objects"})
    process.start()
    try:
        await process.until_ready()
        async with open_stub(process.address, RegistryServiceStub) as stub, readers(process.address) as watching:
            await Client(stub).apply(view("v1"))
            await eventually(lambda: all(each.seen[-1:] == [1] for each in watching))
            process.kill()
            await eventually(lambda: not any(each.reads.reachable for each in watching))
            async with registry(tmp_path) as offline:
                await offline.apply(view("v2"))
                await offline.apply(view("v3"))
            process.start()
            await process.until_ready()
            await eventually(lambda: all(each.seen[-1:] == [3] for each in watching), within_s=LIMIT_S)
            assert all(each.seen in ([0, 1, 3], [1, 3]) for each in watching)
            assert all(each.reads.reachable for each in watching)
    finally:
        process.kill()
