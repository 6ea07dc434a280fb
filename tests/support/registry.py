"""A registry of the test's own, called in process or over gRPC."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from predictmesh.model.v1.runtime_pb2 import RuntimeState, RuntimeStatus
from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.model_pb2 import Version as VersionMessage
from predictmesh.registry.v1.quality_service_pb2_grpc import QualityServiceStub
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.registry.v1.release_service_pb2_grpc import ReleaseServiceStub
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.mesh.channel import open_stub
from services.mesh.interceptors import server_chain
from services.mesh.lifecycle import serving
from services.mesh.local import LocalStub
from services.mesh.telemetry.tracing import open_tracing
from services.registry.convert import encode
from services.registry.definitions import Endpoint, FeatureView, Model, Resource, Version
from services.registry.server import build
from services.registry.settings import Settings
from tests.support.definitions import CONTENT, version

World = Literal["inprocess", "grpc"]


def settings(directory: Path, **parts: Any) -> Settings:
    """Free ports, and everything stored below `directory`."""
    fixed: dict[str, Any] = {
        "grpc_port": 0,
        "http_port": 0,
        "data_dir": directory / "registry",
        "objects": f"file://{directory}/objects",
    }
    return Settings(**fixed | parts)


@asynccontextmanager
async def registry(directory: Path, world: World = "inprocess", **parts: Any) -> AsyncIterator[Client]:
    """A registry whose state is in `directory`, for the time of the context."""
    made = settings(directory, **parts)
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(build(made))
        if world == "grpc":
            addresses = await stack.enter_async_context(serving(service, made))
            yield await stack.enter_async_context(connected(addresses.grpc))
        else:
            chain = server_chain(open_tracing("registry", endpoint="", sample_ratio=0), max_in_flight=100)
            yield Client(*(LocalStub(servicer, chain) for servicer in service.servicers))


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """A client of the registry at an address."""
    async with AsyncExitStack() as stack:
        stubs = (RegistryServiceStub, ReleaseServiceStub, QualityServiceStub)
        yield Client(*[await stack.enter_async_context(open_stub(address, stub)) for stub in stubs])


@dataclass(frozen=True)
class Client:
    """Calls with definitions in place of messages; `stub`, `releases` and `quality` have the calls themselves."""

    stub: Any
    releases: Any = None
    quality: Any = None

    async def apply(self, *resources: Resource, **parts: Any) -> pb.ApplyResponse:
        """Apply definitions; no version need be ready unless told otherwise."""
        request: dict[str, Any] = {"allow_unready": True, "actor": "test"} | parts
        response: pb.ApplyResponse = await self.stub.Apply(
            pb.ApplyRequest(resources=[message(resource) for resource in resources], **request)
        )
        return response

    async def upload(self, content: bytes = CONTENT, **header: Any) -> pb.UploadArtifactResponse:
        """Upload bytes, under what the header says of them."""
        promised: dict[str, Any] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)} | header
        parts = [pb.UploadArtifactRequest(header=pb.ArtifactHeader(**promised))]
        step = max(8, len(content) // 64)
        parts += [pb.UploadArtifactRequest(chunk=content[at : at + step]) for at in range(0, len(content), step)]
        response: pb.UploadArtifactResponse = await self.stub.UploadArtifact(stream(parts))
        return response

    async def register(self, given: Version | None = None, model: str = "churn", **parts: Any) -> Any:
        """Register a version."""
        body = encode(given or version(), VersionMessage())
        return await self.stub.RegisterVersion(pb.RegisterVersionRequest(model=model, version=body, **parts))

    async def snapshot(self) -> Snapshot:
        """The present definitions, without the time, so that equal ones are equal."""
        snapshot: Snapshot = (await self.stub.GetSnapshot(pb.GetSnapshotRequest())).snapshot
        copy = Snapshot()
        copy.CopyFrom(snapshot)
        copy.ClearField("create_time")
        return copy

    async def events(self, after: int = 0) -> list[pb.Event]:
        """The whole log, page by page."""
        found: list[pb.Event] = []
        while page := (await self.stub.ListEvents(pb.ListEventsRequest(after_revision=after))).events:
            found += page
            after = page[-1].revision
        return found

    async def load(self, events: Iterable[pb.Event]) -> pb.ImportEventsResponse:
        """Import events."""
        parts = [pb.ImportEventsRequest(event=event) for event in events]
        response: pb.ImportEventsResponse = await self.stub.ImportEvents(stream(parts))
        return response

    async def report(
        self, *versions: VersionMessage, state: int = RuntimeState.RUNTIME_STATE_READY, **parts: Any
    ) -> None:
        """Report as a model process that these versions of churn are in a state."""
        said: dict[str, Any] = {"model": "churn", "runtime": "onnx", "state": state}
        statuses = [
            RuntimeStatus(**said | {"version": each.version, "digest": each.digest} | parts) for each in versions
        ]
        await self.stub.ReportRuntime(pb.ReportRuntimeRequest(instance_id="model-1", runtimes=statuses))


def message(resource: Resource) -> pb.Resource:
    """The resource as a message."""
    made = pb.Resource()
    match resource:
        case FeatureView():
            encode(resource, made.feature_view)
        case Model():
            encode(resource, made.model)
        case Endpoint():
            encode(resource, made.endpoint)
    return made


async def stream(parts: Sequence[Any]) -> AsyncIterator[Any]:
    """The parts, one by one."""
    for part in parts:
        yield part
