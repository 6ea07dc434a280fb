"""A servicer that does as a test says, called over gRPC or in process alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

from pydantic import Field

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.features.v1 import features_service_pb2_grpc as features_grpc
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1 import registry_service_pb2_grpc as registry_grpc
from services.mesh.admission.gate import Gate
from services.mesh.channel import open_stub
from services.mesh.interceptors import NO_GATES, server_chain
from services.mesh.local import LocalStub
from services.mesh.methods import Servicer
from services.mesh.security.guard import Guard
from services.mesh.security.identity import open_identity
from services.mesh.server import MeshServer
from services.mesh.settings import ServiceSettings
from services.mesh.telemetry.tracing import Tracing

World = Literal["local", "grpc", "exchange"]


class Settings(ServiceSettings):
    service: ClassVar[str] = "probe"
    grpc_port: int = Field(0, ge=0, le=65_535)
    http_port: int = Field(0, ge=0, le=65_535)
    data_dir: Path = Path("unused")


async def _nothing(request: Any, context: Any) -> None:
    pass


async def _count(request: Any, context: Any) -> AsyncIterator[registry_pb.WatchSnapshotResponse]:
    for revision in range(request.known_revision):
        yield registry_pb.WatchSnapshotResponse(revision=revision)


class Probe(registry_grpc.RegistryServiceServicer, features_grpc.FeatureServiceServicer):
    """One method of each kind; each first does what `act` says.

    Apply answers the expected revision plus one, UploadArtifact the bytes it got, WatchSnapshot as many responses as the
    known revision says, StreamFeatures each sequence.
    """

    def __init__(self) -> None:
        self.act: Callable[[Any, Any], Awaitable[None]] = _nothing
        self.watch: Callable[[Any, Any], AsyncIterator[registry_pb.WatchSnapshotResponse]] = _count

    async def Apply(self, request: Any, context: Any) -> registry_pb.ApplyResponse:
        await self.act(request, context)
        return registry_pb.ApplyResponse(revision=request.expected_revision + 1)

    async def UploadArtifact(self, request: AsyncIterator[Any], context: Any) -> registry_pb.UploadArtifactResponse:
        await self.act(request, context)
        size = 0
        async for part in request:
            size += len(part.chunk)
        return registry_pb.UploadArtifactResponse(size_bytes=size)

    async def WatchSnapshot(self, request: Any, context: Any) -> AsyncIterator[registry_pb.WatchSnapshotResponse]:
        await self.act(request, context)
        async for response in self.watch(request, context):
            yield response

    async def StreamFeatures(
        self, request: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[features_pb.StreamFeaturesResponse]:
        await self.act(request, context)
        async for batch in request:
            yield features_pb.StreamFeaturesResponse(acknowledged_sequence=batch.sequence)


def new_probe() -> Probe:
    """Return a probe whose `act` does nothing; the methods that it lacks answer UNIMPLEMENTED."""
    return Probe()  # type: ignore[abstract]


def servicers(probe: Probe) -> Sequence[Servicer]:
    """Return the probe as what a server serves."""
    return (
        Servicer(registry_grpc.add_RegistryServiceServicer_to_server, probe),
        Servicer(features_grpc.add_FeatureServiceServicer_to_server, probe),
    )


def untraced() -> Tracing:
    """Return the tracing of a service that makes no spans."""
    return Tracing("probe", exporter=None, sample_ratio=0)


@asynccontextmanager
async def server(
    probe: Probe,
    *,
    tracing: Tracing | None = None,
    max_in_flight: int = 100,
    gates: Mapping[str, Gate] = NO_GATES,
    guard: Guard | None = None,
    **settings: Any,
) -> AsyncIterator[MeshServer]:
    """Serve the probe on a free port for the time of the context."""
    made = Settings(**settings)
    async with open_identity(made.tls) as identity:
        serving = MeshServer(made, gates, identity, guard)
        chain = server_chain(tracing or untraced(), max_in_flight=max_in_flight, gates=gates, guard=guard)
        serving.add(servicers(probe), chain)
        await serving.start()
        try:
            yield serving
        finally:
            await serving.stop(0)


@asynccontextmanager
async def remote(address: str, **options: Any) -> AsyncIterator[Any]:
    """Open a stub with the methods of both services; `options` are those of `open_stub`."""
    async with AsyncExitStack() as stack:
        both = SimpleNamespace()
        for made in (registry_grpc.RegistryServiceStub, features_grpc.FeatureServiceStub):
            vars(both).update(vars(await stack.enter_async_context(open_stub(address, made, **options))))
        yield both


@asynccontextmanager
async def calling(
    world: World,
    probe: Probe,
    *,
    tracing: Tracing | None = None,
    max_in_flight: int = 100,
    gates: Mapping[str, Gate] = NO_GATES,
) -> AsyncIterator[Any]:
    """Yield a stub whose calls reach the probe through the whole chain, over real channels or in process."""
    if world != "local":
        async with (
            server(probe, tracing=tracing, max_in_flight=max_in_flight, gates=gates) as serving,
            remote(serving.address, exchange=world == "exchange") as stub,
        ):
            yield stub
    else:
        chain = server_chain(tracing or untraced(), max_in_flight=max_in_flight, gates=gates)
        both = SimpleNamespace()
        for servicer in servicers(probe):
            vars(both).update(vars(LocalStub(servicer, chain)))
        yield both
