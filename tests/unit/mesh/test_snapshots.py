"""Readers have the newest definitions from wherever they can be had: the registry, else object storage, else disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.mesh import snapshots
from services.mesh.errors import StoreUnavailable
from services.mesh.objects import SNAPSHOT, Objects
from services.mesh.snapshots import SnapshotReader
from tests.support.probe import Probe, World, calling, new_probe, remote, server
from tests.support.waiting import eventually


def snapshot(revision: int, log_id: str = "log") -> Snapshot:
    """Return definitions of one revision."""
    return Snapshot(revision=revision, log_id=log_id)


class Registry:
    """A registry whose snapshots a test publishes."""

    def __init__(self, probe: Probe) -> None:
        probe.watch = self._watch
        self.requests: list[registry_pb.WatchSnapshotRequest] = []
        self._watchers: list[asyncio.Queue[Snapshot | Exception | None]] = []
        self._newest: Snapshot | None = None

    def publish(self, newest: Snapshot) -> None:
        """Send a snapshot to everybody who watches, and to whoever comes later."""
        self._newest = newest
        self._send(newest)

    def beat(self) -> None:
        """Send a heartbeat."""
        self._send(None)

    def fail(self) -> None:
        """End every watch with an error."""
        self._send(StoreUnavailable("gone"))

    def _send(self, what: Snapshot | Exception | None) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(what)
        if isinstance(what, Exception):
            self._watchers.clear()

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[registry_pb.WatchSnapshotResponse]:
        self.requests.append(request)
        queue: asyncio.Queue[Snapshot | Exception | None] = asyncio.Queue()
        newest = self._newest
        known = (request.known_log_id, request.known_revision)
        queue.put_nowait(newest if newest is not None and (newest.log_id, newest.revision) != known else None)
        self._watchers.append(queue)
        while True:
            what = await queue.get()
            if isinstance(what, Exception):
                raise what
            yield registry_pb.WatchSnapshotResponse(revision=what.revision if what else 0, snapshot=what)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect at once."""
    monkeypatch.setattr(snapshots, "RECONNECT_S", 0.001)
    monkeypatch.setattr(snapshots, "LONGEST_RECONNECT_S", 0.01)


@pytest.fixture
def probe() -> Probe:
    """The servicer behind the registry."""
    return new_probe()


@pytest.fixture
def registry(probe: Probe) -> Registry:
    """The registry that is watched."""
    return Registry(probe)


@pytest.fixture(params=["grpc", "local"])
async def stub(request: pytest.FixtureRequest, probe: Probe, registry: Registry) -> AsyncIterator[Any]:
    """The registry's calls, over both kinds of stub."""
    world: World = request.param
    async with calling(world, probe) as stub:
        yield stub


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    """Object storage in a directory."""
    return Objects.open(f"file://{tmp_path}/objects")


@asynccontextmanager
async def reading(stub: Any, **parts: Any) -> AsyncIterator[tuple[SnapshotReader, list[tuple[str, int]]]]:
    """Run a reader, and list what it was given."""
    seen: list[tuple[str, int]] = []
    reader = SnapshotReader(stub, **{"subscriber": "test", "objects": None, "cache": None} | parts)
    reader.subscribe(lambda taken: seen.append((taken.log_id, taken.revision)))
    async with reader:
        yield reader, seen


async def test_each_newer_snapshot_is_taken(stub: Any, registry: Registry) -> None:
    """What the registry publishes reaches every subscriber, in order; who comes late gets the present one."""
    registry.publish(snapshot(1))
    async with reading(stub) as (reader, seen):
        await eventually(lambda: seen == [("log", 1)])
        registry.publish(snapshot(2))
        registry.beat()
        registry.publish(snapshot(3))
        await eventually(lambda: seen == [("log", 1), ("log", 2), ("log", 3)])
        late: list[int] = []
        reader.subscribe(lambda taken: late.append(taken.revision))
        assert [3] == late
        assert reader.reachable


async def test_watch_is_taken_up_again(stub: Any, registry: Registry) -> None:
    """After a broken watch the reader asks anew, says what it has, and is not told the same again."""
    registry.publish(snapshot(4))
    async with reading(stub) as (reader, seen):
        await eventually(lambda: len(seen) == 1)
        registry.fail()
        await eventually(lambda: len(registry.requests) == 2)
        await eventually(lambda: reader.reachable)
        registry.publish(snapshot(5))
        await eventually(lambda: seen == [("log", 4), ("log", 5)])
    assert ("log", 4) == (registry.requests[1].known_log_id, registry.requests[1].known_revision)
    assert {"test"} == {request.subscriber for request in registry.requests}


async def test_silence_is_a_broken_watch(stub: Any, registry: Registry) -> None:
    """Without heartbeats the registry counts as unreachable, and is asked anew."""
    async with reading(stub, heartbeat_timeout_s=0.2):
        await eventually(lambda: len(registry.requests) >= 2)


async def test_another_log_wins_with_a_lower_revision(stub: Any, registry: Registry, tmp_path: Path) -> None:
    """A registry begun anew is the truth, whatever was kept of the old one."""
    cache = tmp_path / "snapshot"
    cache.write_bytes(snapshot(90, "old").SerializeToString())
    registry.publish(snapshot(1, "new"))
    async with reading(stub, cache=cache) as (_, seen):
        await eventually(lambda: seen[-1:] == [("new", 1)])
        registry.publish(snapshot(2, "newer"))
        await eventually(lambda: seen[-1:] == [("newer", 2)])
        await eventually(lambda: Snapshot.FromString(cache.read_bytes()).log_id == "newer")


async def test_outage_keeps_the_last_snapshot(probe: Probe, registry: Registry) -> None:
    """When the registry goes away its last word stays, and `reachable` says so; when it is back it is heard again."""
    registry.publish(snapshot(1))
    async with server(probe) as first:
        address = first.address
        async with remote(address) as stub, reading(stub) as (reader, seen):
            await eventually(lambda: seen == [("log", 1)])
            await first.stop(0)
            await eventually(lambda: not reader.reachable)
            assert reader.current is not None
            registry.publish(snapshot(2))
            async with server(probe, grpc_port=int(address.rsplit(":", 1)[1])):
                await eventually(lambda: seen == [("log", 1), ("log", 2)])
                assert reader.reachable


@asynccontextmanager
async def no_registry() -> AsyncIterator[Any]:
    """Calls to an address where nobody listens."""
    async with server(new_probe()) as gone:
        address = gone.address
    async with remote(address) as stub:
        yield stub


async def test_object_storage_serves_while_the_registry_is_away(objects: Objects) -> None:
    """A reader that starts during an outage has what the registry stored last."""
    await objects.put(SNAPSHOT, snapshot(7).SerializeToString())
    async with no_registry() as stub, reading(stub, objects=objects) as (reader, seen):
        await eventually(lambda: seen == [("log", 7)])
        assert not reader.reachable


async def test_reader_without_a_registry_is_served_from_storage(objects: Objects) -> None:
    """A reader that is told of no registry reads what is stored."""
    await objects.put(SNAPSHOT, snapshot(7).SerializeToString())
    async with reading(None, objects=objects) as (_, seen):
        await eventually(lambda: seen == [("log", 7)])


async def test_disk_serves_when_nothing_else_does(stub: Any, registry: Registry, tmp_path: Path) -> None:
    """What was taken from the registry survives a restart."""
    cache = tmp_path / "state" / "snapshot"
    registry.publish(snapshot(3))
    async with reading(stub, cache=cache):
        await eventually(cache.exists)
    async with no_registry() as nobody, reading(nobody, cache=cache) as (reader, seen):
        await eventually(lambda: seen == [("log", 3)])
        assert not reader.reachable


@pytest.mark.parametrize(("stored", "kept", "expected"), [(5, 4, [5]), (4, 5, [4, 5]), (5, 5, [5])])
async def test_newer_of_storage_and_disk_wins(
    objects: Objects, tmp_path: Path, stored: int, kept: int, expected: list[int]
) -> None:
    """Of two stored snapshots the newer one stays."""
    await objects.put(SNAPSHOT, snapshot(stored).SerializeToString())
    cache = tmp_path / "snapshot"
    cache.write_bytes(snapshot(kept).SerializeToString())
    async with reading(None, objects=objects, cache=cache) as (reader, seen):
        await eventually(lambda: [revision for _, revision in seen] == expected)
        assert reader._task is not None
        await reader._task
        assert expected == [revision for _, revision in seen]


@pytest.mark.parametrize("content", [b"", b"\xff\xff garbage", b"\x0a\x03abc", snapshot(9).SerializeToString()[:2]])
async def test_corrupt_copies_are_ignored(
    stub: Any, registry: Registry, objects: Objects, tmp_path: Path, content: bytes
) -> None:
    """A file that is no snapshot counts as none, wherever it lies, and is replaced by the next good one."""
    cache = tmp_path / "snapshot"
    cache.write_bytes(content)
    await objects.put(SNAPSHOT, content)
    async with reading(None, objects=objects, cache=cache) as (reader, seen):
        assert reader._task is not None
        await reader._task
        assert [] == seen
    registry.publish(snapshot(1))
    async with reading(stub, objects=objects, cache=cache) as (_, seen):
        await eventually(lambda: seen == [("log", 1)])
        await eventually(lambda: cache.read_bytes() == snapshot(1).SerializeToString())


async def test_late_storage_does_not_contradict_the_registry(
    stub: Any, registry: Registry, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What storage answers after the registry is of no interest, even when the registry has gone again."""
    gate = asyncio.Event()
    get = objects.get

    async def late(path: str) -> bytes:
        await gate.wait()
        return await get(path)

    await objects.put(SNAPSHOT, snapshot(90, "old").SerializeToString())
    monkeypatch.setattr(objects, "get", late)
    registry.publish(snapshot(1, "new"))
    async with reading(stub, objects=objects) as (reader, seen):
        await eventually(lambda: seen == [("new", 1)])
        reader._set_reachable(False)
        gate.set()
        registry.publish(snapshot(2, "new"))
        await eventually(lambda: len(seen) > 1)
        assert [("new", 1), ("new", 2)] == seen


async def test_storage_that_hangs_does_not_keep_the_disk_waiting(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Object storage has a limit; then the copy on disk serves."""

    async def never(path: str) -> bytes:
        await asyncio.get_running_loop().create_future()
        return b""

    monkeypatch.setattr(objects, "get", never)
    monkeypatch.setattr(snapshots, "OBJECTS_TIMEOUT_S", 0.05)
    cache = tmp_path / "snapshot"
    cache.write_bytes(snapshot(3).SerializeToString())
    async with reading(None, objects=objects, cache=cache) as (_, seen):
        await eventually(lambda: seen == [("log", 3)])


async def test_subscriber_that_fails_does_not_stop_the_others(
    stub: Any, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """One reader's fault is logged, and the watch goes on."""

    def broken(taken: Snapshot) -> None:
        raise ValueError("cannot use it")

    reader = SnapshotReader(stub, subscriber="test", objects=None, cache=None)
    seen: list[int] = []
    reader.subscribe(broken)
    reader.subscribe(lambda taken: seen.append(taken.revision))
    registry.publish(snapshot(1))
    async with reader:
        await eventually(lambda: seen == [1])
        registry.publish(snapshot(2))
        await eventually(lambda: seen == [1, 2])
    assert "cannot use it" in caplog.text


async def test_revision_told_is_the_one_that_all_use(stub: Any, registry: Registry) -> None:
    """A snapshot that one of the readers cannot use leaves the metric where it was, so that an alert can tell."""
    told = partial(REGISTRY.get_sample_value, "predictmesh_snapshot_revision", {"service": "telling"})
    seen: list[int] = []

    def use(taken: Snapshot) -> None:
        if taken.revision == 2:
            raise ValueError("cannot use it")

    reader = SnapshotReader(stub, subscriber="telling", objects=None, cache=None)
    reader.subscribe(use)
    reader.subscribe(lambda taken: seen.append(taken.revision))
    registry.publish(snapshot(1))
    async with reader:
        await eventually(lambda: told() == 1)
        registry.publish(snapshot(2))
        await eventually(lambda: seen == [1, 2])
        assert 1 == told()
        registry.publish(snapshot(3))
        await eventually(lambda: told() == 3)
