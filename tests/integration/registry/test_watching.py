"""Watching the definitions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.mesh.channel import open_stub
from services.mesh.lifecycle import serving
from services.registry.server import build
from tests.support.definitions import view
from tests.support.registry import Client, registry, settings
from tests.support.waiting import eventually

LIMIT_S = 10


def watch(client: Client, **known: Any) -> AsyncIterator[pb.WatchSnapshotResponse]:
    """A watch, as an iterator that answers within a limit."""
    responses = client.stub.WatchSnapshot(pb.WatchSnapshotRequest(subscriber="test", **known)).__aiter__()

    async def limited() -> AsyncIterator[pb.WatchSnapshotResponse]:
        while True:
            async with asyncio.timeout(LIMIT_S):
                try:
                    response = await anext(responses)
                except StopAsyncIteration:
                    return
            yield response

    return limited()


async def test_a_watcher_gets_what_is_there_and_what_comes(full: Client) -> None:
    """First the present, then each change."""
    watching = watch(full)
    first = await anext(watching)
    assert (first.revision, first.snapshot.revision, len(first.snapshot.models)) == (3, 3, 1)
    await full.apply(view("next"))
    assert [each.name for each in (await anext(watching)).snapshot.feature_views] == ["rider_stats", "next"]


async def test_a_watcher_is_not_sent_what_it_has(full: Client) -> None:
    """Whoever reconnects with the present revision gets a sign of life at once, and then what is newer."""
    log_id = (await full.snapshot()).log_id
    watching = watch(full, known_log_id=log_id, known_revision=3)
    sign = await anext(watching)
    assert (sign.revision, sign.HasField("snapshot")) == (3, False)
    await full.apply(view("next"))
    assert (await anext(watching)).snapshot.revision == 4


@pytest.mark.parametrize("known", [{"known_log_id": "another", "known_revision": 99}, {"known_revision": 3}])
async def test_a_watcher_of_another_log_is_sent_this_one(full: Client, known: dict[str, Any]) -> None:
    """Revisions of another log mean nothing here, however high."""
    assert (await anext(watch(full, **known))).snapshot.revision == 3


async def test_a_watcher_hears_that_the_registry_lives(tmp_path: Path) -> None:
    """Signs of life come while nothing changes."""
    async with registry(tmp_path, heartbeat_s=0.01) as client:
        watching = watch(client)
        assert (await anext(watching)).HasField("snapshot")
        assert not any([(await anext(watching)).HasField("snapshot") for _ in range(3)])


async def test_watches_end_when_the_registry_stops(tmp_path: Path) -> None:
    """A stop does not wait for watchers, nor they for a time-out."""
    made = settings(tmp_path, grace_s=60)
    async with build(made) as service, asyncio.timeout(LIMIT_S):
        watched = asyncio.Event()

        async def until_the_end(stub: Any) -> int:
            seen = 0
            async for _ in stub.WatchSnapshot(pb.WatchSnapshotRequest()):
                seen += 1
                watched.set()
            return seen

        async with serving(service, made) as addresses:
            stub = await (opened := open_stub(addresses.grpc, RegistryServiceStub)).__aenter__()
            watching = asyncio.create_task(until_the_end(stub))
            await watched.wait()
        assert await watching == 1
        await opened.__aexit__(None, None, None)


async def test_the_newest_snapshot_is_in_object_storage(full: Client, tmp_path: Path) -> None:
    """Readers that start while the registry is down find it there."""
    path = tmp_path / "objects" / "snapshots" / "current"
    await full.apply(view("next"))
    await eventually(lambda: Snapshot.FromString(path.read_bytes()).revision == 4)


async def test_an_empty_registry_is_in_object_storage_too(tmp_path: Path) -> None:
    """It is written at the start, not only at the first change."""
    path = tmp_path / "objects" / "snapshots" / "current"
    async with registry(tmp_path) as client:
        await eventually(path.exists)
        assert Snapshot.FromString(path.read_bytes()).log_id == (await client.snapshot()).log_id


async def test_a_stop_leaves_the_newest_snapshot(tmp_path: Path) -> None:
    """A change just before the end is not lost to readers."""
    async with registry(tmp_path) as client:
        for number in range(5):
            await client.apply(view(f"v{number}"))
    assert Snapshot.FromString((tmp_path / "objects" / "snapshots" / "current").read_bytes()).revision == 5


async def test_object_storage_that_was_away_gets_the_newest(tmp_path: Path) -> None:
    """Changes are made meanwhile, and the newest is written when it is back."""
    blocked = tmp_path / "objects" / "snapshots"
    blocked.parent.mkdir()
    blocked.write_bytes(b"a file where a directory belongs")
    async with registry(tmp_path) as client:
        await client.apply(view("a"))
        await client.apply(view("b"))
        blocked.unlink()
        await eventually((blocked / "current").exists)
        assert Snapshot.FromString((blocked / "current").read_bytes()).revision == 2
