"""The registry's log is read forwards, from its end, and as it grows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from queue import Queue
from typing import Any

import grpc
import pytest

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.cli.errors import Failure
from services.cli.events import log
from services.cli.events.log import events_after, follow_events, last_events
from services.cli.targets import Target

NAME = "predictmesh.registry.v1.RegistryService"
Beat = pb.WatchSnapshotResponse | None


@dataclass
class Registry:
    """A log of `revisions` events, of which a page holds `page` at most; sends what `beats` holds, None ends a watch."""

    revisions: int
    page: int = 70
    beats: Queue[Beat] = field(default_factory=Queue)
    watches: list[pb.WatchSnapshotRequest] = field(default_factory=list)
    pages: int = 0

    def list_events(self, request: pb.ListEventsRequest, context: object) -> pb.ListEventsResponse:
        """Answer a page."""
        assert 1 <= request.page_size <= 1_000
        self.pages += 1
        after = request.after_revision
        last = min(self.revisions, after + min(self.page, request.page_size))
        return pb.ListEventsResponse(events=[pb.Event(revision=number) for number in range(after + 1, last + 1)])

    def watch(self, request: pb.WatchSnapshotRequest, context: object) -> Iterator[pb.WatchSnapshotResponse]:
        """Send beats until one ends the watch; the log has grown to the revision that each tells."""
        self.watches.append(request)
        for beat in iter(self.beats.get, None):
            self.revisions = max(self.revisions, beat.revision)
            yield beat


@contextmanager
def serving(registry: Registry) -> Iterator[Target]:
    """Serve on a free port."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "ListEvents": grpc.unary_unary_rpc_method_handler(
            registry.list_events, pb.ListEventsRequest.FromString, pb.ListEventsResponse.SerializeToString
        ),
        "WatchSnapshot": grpc.unary_stream_rpc_method_handler(
            registry.watch, pb.WatchSnapshotRequest.FromString, pb.WatchSnapshotResponse.SerializeToString
        ),
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Target("registry", f"127.0.0.1:{port}", "test")
    finally:
        registry.beats.put(None)
        server.stop(None).wait()


def numbers(events: Sequence[pb.Event]) -> list[int]:
    """The revisions of events."""
    return [event.revision for event in events]


@contextmanager
def stub(registry: Registry) -> Iterator[RegistryServiceStub]:
    """Serve, and call."""
    with serving(registry) as target, grpc.insecure_channel(target.address) as channel:
        yield RegistryServiceStub(channel)


@pytest.mark.parametrize("count", [0, 1, 70, 71, 500])
def test_all(count: int) -> None:
    """Every event comes once, in order, whatever the pages hold."""
    with stub(Registry(count)) as registry:
        assert list(range(1, count + 1)) == [event.revision for event in events_after(registry, 0, 10)]
        assert list(range(4, count + 1)) == [event.revision for event in events_after(registry, 3, 10)]


@pytest.mark.parametrize("count", [0, 5, 199, 200, 201, 450])
def test_end(count: int) -> None:
    """The end of the log is there without a gap, and reaches back to the first event where it must."""
    with stub(Registry(count)) as registry:
        found = numbers(last_events(registry, count, 20, lambda event: True, 10))
        assert found == list(range(count - len(found) + 1, count + 1))
        assert min(20, count) <= len(found)
        assert list(range(1, count + 1)) == numbers(last_events(registry, count, 20, lambda event: False, 10))


def test_end_reads_no_more_than_it_needs() -> None:
    """A long log is not read from its beginning; older events are read while too few are wanted."""
    registry = Registry(100_000, page=1_000)
    with stub(registry) as calls:
        last_events(calls, 100_000, 20, lambda event: True, 10)
        assert 1 == registry.pages
        found = last_events(calls, 100_000, 3, lambda event: event.revision % 300 == 0, 10)
    assert [99_900, 99_600, 99_300] == [number for number in reversed(numbers(found)) if number % 300 == 0][:3]
    assert len(found) < 1_000


def test_following(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events come as the registry tells of them, each once, also when it was away between; no snapshot is asked for."""
    monkeypatch.setattr(log, "_RETRY_S", 0.01)
    registry = Registry(10)
    for beat in (10, 12):
        registry.beats.put(pb.WatchSnapshotResponse(revision=beat))
    registry.beats.put(None)
    registry.beats.put(pb.WatchSnapshotResponse(revision=13))
    with serving(registry) as target:
        assert [11, 12, 13] == numbers(list(islice(follow_events(target, "log-1", 10, 10), 3)))
        registry.beats.put(None)
    assert 2 == len(registry.watches)
    assert all("log-1" == watch.known_log_id and watch.known_revision > 10**9 for watch in registry.watches)


def test_another_log() -> None:
    """A registry that comes back empty is not taken for the one before."""
    registry = Registry(10)
    registry.beats.put(pb.WatchSnapshotResponse(revision=1, snapshot=Snapshot(log_id="log-2", revision=1)))
    with serving(registry) as target, pytest.raises(Failure, match="has another log now"):
        next(follow_events(target, "log-1", 10, 10))
