"""The definitions as a reader has them: watched from the registry, else from object storage, else from local disk.

The path of a prediction reads `current` and never waits for the registry.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from google.protobuf.message import DecodeError

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.mesh.errors import MeshError
from services.mesh.objects import SNAPSHOT, Objects
from services.mesh.telemetry import names

if TYPE_CHECKING:
    from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

logger = logging.getLogger(__name__)
# A registry that starts beside its readers is there in a moment; one that is down for long is not asked more often.
RECONNECT_S = 0.05
LONGEST_RECONNECT_S = 1.0
# Clients of object stores try for minutes; the copy on disk is better by then.
OBJECTS_TIMEOUT_S = 5.0


class SnapshotReader:
    """Keeps the newest snapshot. As a context manager it watches from entry to exit.

    `cache` is a file that keeps the snapshot over a restart; `objects` serves a reader that starts while the registry is
    down. `reachable` says whether the registry has been heard of within `heartbeat_timeout_s`.
    """

    def __init__(
        self,
        registry: RegistryServiceAsyncStub | None,
        *,
        subscriber: str,
        objects: Objects | None,
        cache: Path | None,
        heartbeat_timeout_s: float = 15,
    ) -> None:
        self._registry = registry
        self._subscriber = subscriber
        self._objects = objects
        self._cache = cache
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._uses: list[Callable[[Snapshot], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._registry_answered = False
        self.current: Snapshot | None = None
        self.reachable = False

    def subscribe(self, use: Callable[[Snapshot], None]) -> None:
        """Call `use` now, if there is a snapshot, and with each newer one. It must be quick and not fail."""
        self._uses.append(use)
        if self.current is not None:
            use(self.current)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fill())
            if self._registry is not None:
                tasks.create_task(self._follow(self._registry))

    async def _follow(self, registry: RegistryServiceAsyncStub) -> None:
        pause = RECONNECT_S
        while True:
            try:
                await self._watch(registry)
            except (MeshError, TimeoutError, StopAsyncIteration) as error:
                logger.warning("the watch of the registry ended", extra={"cause": repr(error)})
            except Exception:
                logger.exception("the watch of the registry failed")
            pause = RECONNECT_S if self.reachable else min(2 * pause, LONGEST_RECONNECT_S)
            self._set_reachable(False)
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter

    async def _watch(self, registry: RegistryServiceAsyncStub) -> None:
        known = self.current
        request = registry_pb.WatchSnapshotRequest(
            subscriber=self._subscriber,
            known_log_id=known.log_id if known else "",
            known_revision=known.revision if known else 0,
        )
        responses = registry.WatchSnapshot(request).__aiter__()
        while True:
            async with asyncio.timeout(self._heartbeat_timeout_s):
                response = await anext(responses)
            self._registry_answered = True
            self._set_reachable(True)
            if response.HasField("snapshot"):
                self._take(response.snapshot)
                await self._keep(response.snapshot)

    async def _fill(self) -> None:
        """Take the newer of object storage and local disk, unless the registry answers first: its word is final."""
        for stored in (await self._from_objects(), self._from_disk()):
            if stored is not None and not self._registry_answered:
                newer = self.current is None or stored.revision > self.current.revision
                if newer:
                    self._take(stored)

    async def _from_objects(self) -> Snapshot | None:
        if self._objects is None:
            return None
        try:
            async with asyncio.timeout(OBJECTS_TIMEOUT_S):
                return _parsed(await self._objects.get(SNAPSHOT))
        except KeyError:
            return None
        except (MeshError, DecodeError, TimeoutError) as error:
            logger.warning("object storage has no usable snapshot", extra={"cause": repr(error)})
            return None

    def _from_disk(self) -> Snapshot | None:
        if self._cache is None or not self._cache.exists():
            return None
        try:
            return _parsed(self._cache.read_bytes())
        except (OSError, DecodeError) as error:
            logger.warning("the kept snapshot cannot be used", extra={"cause": repr(error)})
            return None

    def _take(self, snapshot: Snapshot) -> None:
        known = self.current
        if known is not None and (known.log_id, known.revision) == (snapshot.log_id, snapshot.revision):
            return
        self.current = snapshot
        logger.info("snapshot taken", extra={"revision": snapshot.revision})
        used = [_is_used(use, snapshot) for use in self._uses]
        if all(used):
            names.SNAPSHOT_REVISION.labels(self._subscriber).set(snapshot.revision)

    async def _keep(self, snapshot: Snapshot) -> None:
        if self._cache is None:
            return
        try:
            await asyncio.to_thread(_replace, self._cache, snapshot.SerializeToString())
        except OSError as error:
            logger.warning("the snapshot could not be kept", extra={"cause": repr(error)})

    def _set_reachable(self, reachable: bool) -> None:
        self.reachable = reachable
        names.REGISTRY_REACHABLE.labels(self._subscriber).set(reachable)


def _is_used(use: Callable[[Snapshot], None], snapshot: Snapshot) -> bool:
    """Hand a snapshot to a reader, whose fault is logged: it must not end the watch for the others."""
    try:
        use(snapshot)
    except Exception:
        logger.exception("a snapshot could not be used", extra={"revision": snapshot.revision})
        return False
    return True


def _parsed(data: bytes) -> Snapshot:
    snapshot = Snapshot.FromString(data)
    if not snapshot.log_id:
        raise DecodeError("not a snapshot")  # protobuf makes an empty message of much that is none
    return snapshot


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that a reader finds the old one or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(data)
    fresh.replace(path)
