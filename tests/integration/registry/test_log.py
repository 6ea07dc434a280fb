"""The log: its events, its copies, and what is left of it after a restart or a kill."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.mesh.channel import open_stub
from services.mesh.errors import Code, MeshError, Reason
from services.registry.definitions import Artifact
from tests.support.definitions import SHA256, model, version, view
from tests.support.registry import Client, registry
from tests.support.registry_process import started

LIMIT_S = 30


async def test_one_act_is_one_event(full: Client) -> None:
    """Each says when, who, why and what; an Apply of two resources is one."""
    events = await full.events()
    assert [(event.revision, event.type) for event in events] == [
        (1, "resources_applied"),
        (2, "version_registered"),
        (3, "resources_applied"),
    ]
    assert events[0].actor == "test"
    assert events[1].actor  # the caller's address, as it gave no name
    assert all(event.time.seconds for event in events)
    assert '"feature_views"' in events[0].payload
    assert '"models"' in events[0].payload


@pytest.mark.parametrize("size", [-1, 1001])
async def test_a_page_has_a_limit(full: Client, size: int) -> None:
    """A page size out of range is told with its field."""
    with pytest.raises(MeshError) as caught:
        await full.stub.ListEvents(pb.ListEventsRequest(page_size=size))
    assert (caught.value.reason, caught.value.violations[0].field) == (Reason.INVALID_ARGUMENT, "page_size")


async def test_pages_follow_each_other(full: Client) -> None:
    """A page begins after a revision; after the last there is nothing, however large the number."""
    page = await full.stub.ListEvents(pb.ListEventsRequest(after_revision=1, page_size=1))
    assert [event.revision for event in page.events] == [2]
    for after in (3, 2**64 - 1):
        assert not (await full.stub.ListEvents(pb.ListEventsRequest(after_revision=after))).events


async def test_a_page_fits_a_message(tmp_path: Path) -> None:
    """Large events come in smaller pages, and at least one at a time."""
    async with registry(tmp_path, max_message_bytes=64_000) as client:
        for number in range(4):
            await client.apply(view(f"v{number}", description="x" * 12_000))
        page = (await client.stub.ListEvents(pb.ListEventsRequest(page_size=1000))).events
        assert [event.revision for event in page] == [1]
        assert len(await client.events()) == 4


async def test_definitions_that_could_not_be_sent_are_refused(tmp_path: Path) -> None:
    """A change must not leave every reader without a snapshot it can take."""
    async with registry(tmp_path, max_message_bytes=64_000) as client:
        await client.apply(view("a", description="x" * 40_000))
        with pytest.raises(MeshError) as caught:
            await client.apply(view("b", description="x" * 40_000))
        assert caught.value.code == Code.FAILED_PRECONDITION
        with pytest.raises(MeshError) as caught:
            await client.apply(view("a", description="x" * 70_000))
        assert caught.value.code == Code.INVALID_ARGUMENT
        assert (await client.snapshot()).revision == 1


async def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    """The log is the truth: definitions, revision, identity and schema numbers are rebuilt from it."""
    async with registry(tmp_path) as client:
        await client.apply(view(), view("gone"), model())
        await client.upload()
        await client.register()
        await client.stub.Delete(pb.DeleteRequest(feature_view="gone"))
        before, events = await client.snapshot(), await client.events()
    async with registry(tmp_path) as client:
        assert await client.snapshot() == before
        assert await client.events() == events
        await client.apply(view("next"))
        assert (await client.snapshot()).feature_views[1].schema_id == 3
        assert (await client.register()).existed


async def test_a_copy_of_the_log_makes_the_same_registry(full: Client, tmp_path: Path) -> None:
    """Listing all events is a backup; importing them restores all but the identity."""
    before, events = await full.snapshot(), await full.events()
    async with registry(tmp_path / "copy") as copy:
        assert (await copy.load(events)).revision == 3
        after = await copy.snapshot()
        assert after.log_id != before.log_id
        after.log_id = before.log_id
        assert after == before
        assert await copy.events() == events
        await copy.apply(view("next"))
    async with registry(tmp_path / "copy") as copy:
        assert (await copy.snapshot()).revision == 4


async def test_a_copy_has_every_runtime(full: Client, tmp_path: Path) -> None:
    """Formats and targets come along; a runtime that could be registered once stays, though nobody has it."""
    artifacts = (Artifact("oip", target="models.example:8001/ranker"), Artifact("triton", SHA256, format="python"))
    await full.register(version("1.1.0", artifacts=artifacts))
    events = await full.events()
    replaced(1, '"runtime":"onnx"', '"runtime":"tensorrt"')(events)
    async with registry(tmp_path / "copy") as copy:
        await copy.load(events)
        first, second = (await copy.snapshot()).models[0].versions
        assert "tensorrt" == first.artifacts[0].runtime
        assert (await full.snapshot()).models[0].versions[1] == second


async def test_an_import_needs_an_empty_registry(full: Client) -> None:
    """Two histories cannot be one."""
    with pytest.raises(MeshError) as caught:
        await full.load(await full.events())
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.NOT_EMPTY)


def replaced(number: int, old: str, new: str) -> Callable[[list[pb.Event]], None]:
    """Replace text in the payload of an event."""

    def spoil(events: list[pb.Event]) -> None:
        assert old in events[number].payload
        events[number].payload = events[number].payload.replace(old, new)

    return spoil


SPOILED: dict[str, Callable[[list[pb.Event]], object]] = {
    "a gap": lambda events: events.pop(1),
    "out of order": lambda events: events.reverse(),
    "an unknown type": lambda events: setattr(events[1], "type", "something_else"),
    "not JSON": lambda events: setattr(events[1], "payload", "{"),
    "another shape": lambda events: setattr(events[1], "payload", '{"model": 5}'),
    "an unknown key": replaced(0, '"entity"', '"entityy"'),
    "no time": lambda events: events[2].ClearField("time"),
    "no such time": lambda events: setattr(events[2].time, "seconds", 2**60),
    "a missing model": lambda events: setattr(events[0], "payload", '{"feature_views":[]}'),
    "a missing view": lambda events: setattr(events[0], "payload", '{"models":[{"name":"churn"}]}'),
    "a bad name": replaced(0, "rider_stats", "Rider"),
    "another schema number": replaced(0, '"schema_id":1', '"schema_id":2'),
    "an alias to nowhere": replaced(2, "1.0.0", "9.9.9"),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
async def test_a_spoiled_copy_is_refused_whole(
    full: Client, tmp_path: Path, spoil: Callable[[list[pb.Event]], object]
) -> None:
    """What does not amount to valid definitions leaves the registry empty and usable."""
    events = await full.events()
    spoil(events)
    async with registry(tmp_path / "copy") as copy:
        with pytest.raises(MeshError) as caught:
            await copy.load(events)
        assert caught.value.code == Code.INVALID_ARGUMENT
        assert (await copy.snapshot()).revision == 0
        assert await copy.events() == []
        assert (await copy.load(await full.events())).revision == 3


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """A registry killed amid writes has every change it has answered, and perhaps one more."""
    process, address = await started(tmp_path)
    acknowledged = 0
    async with open_stub(address, RegistryServiceStub) as stub:
        client = Client(stub)

        async def write() -> None:
            nonlocal acknowledged
            while True:
                acknowledged = (await client.apply(view(f"v{acknowledged}"))).revision
                if acknowledged == 20:
                    process.send_signal(signal.SIGKILL)

        with pytest.raises(MeshError):
            await write()
    await process.wait()
    async with registry(tmp_path) as client:
        snapshot = await client.snapshot()
        assert acknowledged >= 20
        assert acknowledged <= snapshot.revision <= acknowledged + 1
        assert len(snapshot.feature_views) == snapshot.revision
        assert [event.revision for event in await client.events()] == list(range(1, snapshot.revision + 1))


async def test_a_process_stops_when_told(tmp_path: Path) -> None:
    """SIGTERM ends it cleanly, watchers included."""
    process, address = await started(tmp_path)
    async with open_stub(address, RegistryServiceStub) as stub, asyncio.timeout(LIMIT_S):
        watching = stub.WatchSnapshot(pb.WatchSnapshotRequest()).__aiter__()
        await anext(watching)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
