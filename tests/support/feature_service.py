"""A feature service as a test uses it: in process or behind a port, with a registry that publishes what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import SecretStr

from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceStub
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1.feature_view_pb2 import FeatureView
from predictmesh.registry.v1.registry_service_pb2_grpc import (
    RegistryServiceServicer,
    add_RegistryServiceServicer_to_server,
)
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.features.server import build
from services.features.settings import Settings
from services.mesh.channel import open_stub
from services.mesh.interceptors import server_chain
from services.mesh.lifecycle import Service, serving
from services.mesh.local import LocalStub
from services.mesh.methods import Servicer
from services.mesh.telemetry.tracing import open_tracing
from tests.support.feature_views import snapshot
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceAsyncStub
    from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


class PublishingRegistry(RegistryServiceServicer):
    """Sends whatever snapshot a test publishes."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()
        self._changed = asyncio.Event()

    def publish(self, *views: FeatureView) -> int:
        """Define exactly these views; return the revision."""
        self._snapshot = snapshot(*views, revision=self._snapshot.revision + 1)
        self._changed.set()
        self._changed = asyncio.Event()
        return self._snapshot.revision

    async def WatchSnapshot(
        self, request: registry_pb.WatchSnapshotRequest, context: object
    ) -> AsyncIterator[registry_pb.WatchSnapshotResponse]:
        while True:
            changed = self._changed
            if self._snapshot.revision:
                yield registry_pb.WatchSnapshotResponse(revision=self._snapshot.revision, snapshot=self._snapshot)
            await changed.wait()


@dataclass(frozen=True)
class RunningFeatures:
    """What a test drives."""

    stub: FeatureServiceAsyncStub
    service: Service
    registry: PublishingRegistry
    address: str = ""

    async def publish(self, *views: FeatureView) -> None:
        """Define exactly these views, and wait until the service has them."""
        revision = self.registry.publish(*views)
        await eventually(lambda: self.service.status()["snapshot_revision"] == revision)


@asynccontextmanager
async def feature_service(
    directory: Path, redis_url: str, *views: FeatureView, over_wire: bool, store_timeout_ms: int = 2000
) -> AsyncIterator[RunningFeatures]:
    """Run a feature service over `redis_url` that knows `views`; without any it has no snapshot yet."""
    made = Settings(
        grpc_port=0,
        http_port=0,
        data_dir=directory / "features",
        objects=f"file://{directory / 'objects'}",
        redis_url=SecretStr(redis_url),
        store_timeout_ms=store_timeout_ms,
        grace_s=5,
    )
    registry = PublishingRegistry()  # type: ignore[abstract]  # the rest is not called
    source = LocalStub(Servicer(add_RegistryServiceServicer_to_server, registry), ())
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(build(made, registry=cast("RegistryServiceAsyncStub", source)))
        if over_wire:
            addresses = await stack.enter_async_context(serving(service, made))
            address = addresses.grpc
            stub = await stack.enter_async_context(open_stub(address, FeatureServiceStub))
        else:
            address = ""
            chain = server_chain(open_tracing("features", endpoint="", sample_ratio=0), max_in_flight=100)
            stub = cast("FeatureServiceAsyncStub", LocalStub(service.servicers[0], chain))
        running = RunningFeatures(stub, service, registry, address)
        if views:
            await running.publish(*views)
        yield running
