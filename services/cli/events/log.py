"""The registry's log: forwards, its end, and what comes next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import cast

import grpc

from predictmesh.registry.v1.registry_service_pb2 import Event, ListEventsRequest, WatchSnapshotRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.client import failure, open_channel
from services.cli.errors import Failure
from services.cli.targets import Target

_PAGE = 1_000
_WINDOW = 200
_RETRY_S = 1.0
# A watcher that has everything is sent no definitions, but told of each new revision at once.
_EVERYTHING = 2**63 - 1


def events_after(registry: RegistryServiceStub, revision: int, timeout_s: float) -> Iterator[Event]:
    """Yield every event after a revision, oldest first."""
    request = ListEventsRequest(after_revision=revision, page_size=_PAGE)
    while page := registry.ListEvents(request, timeout=timeout_s).events:
        yield from page
        request.after_revision = page[-1].revision


def last_events(
    registry: RegistryServiceStub, until: int, limit: int, wanted: Callable[[Event], bool], timeout_s: float
) -> list[Event]:
    """Return the end of the log up to the revision `until`: as much as holds `limit` wanted events, and some before."""
    found: deque[Event] = deque()
    missing = limit
    while until > 0 and missing > 0:
        start = max(0, until - _WINDOW)
        window = list(_between(registry, start, until, timeout_s))
        missing -= sum(map(wanted, window))
        found.extendleft(reversed(window))
        until = start
    return list(found)


def _between(registry: RegistryServiceStub, after: int, until: int, timeout_s: float) -> Iterator[Event]:
    while after < until:
        request = ListEventsRequest(after_revision=after, page_size=until - after)
        page = registry.ListEvents(request, timeout=timeout_s).events
        if not page:
            return
        yield from page
        after = page[-1].revision


def follow_events(target: Target, log_id: str, revision: int, timeout_s: float) -> Iterator[Event]:
    """Yield each event after a revision as it is written, without end; a registry that is away is waited for.

    Failure if the registry comes back with another log.
    """
    request = WatchSnapshotRequest(subscriber="events", known_log_id=log_id, known_revision=_EVERYTHING)
    while True:
        try:
            with open_channel(target) as channel:
                registry = RegistryServiceStub(channel)
                for beat in registry.WatchSnapshot(request):
                    if beat.HasField("snapshot"):
                        raise Failure(f"the {target} has another log now: its events are others")
                    for event in events_after(registry, revision, timeout_s) if beat.revision > revision else ():
                        yield event
                        revision = event.revision
        except grpc.RpcError as error:
            if cast("grpc.Call", error).code() is not grpc.StatusCode.UNAVAILABLE:
                raise failure(error, target) from error
        time.sleep(_RETRY_S)
