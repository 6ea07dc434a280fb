"""Models at other servers that speak the Open Inference Protocol: somebody else has put them there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from services.mesh.channel import open_stub
from services.mesh.deadline import LONGEST_S
from services.mesh.errors import UpstreamUnavailable
from services.model.datatypes import Array
from services.model.errors import InvalidArtifact, RuntimeFailed
from services.model.oip.client import InferCodec
from services.model.oip.failures import failures_of
from services.model.oip.remote import remote_signature
from services.model.versions import Placement, Signature

MAX_MESSAGE_BYTES = 2**31 - 1
"""As much as gRPC allows: the size of a batch is limited by rows."""
CONTROL_TIMEOUT_S = 10.0
"""Time for a question about a model."""


@dataclass(frozen=True, slots=True)
class Target:
    """A model at a server, as people call the server; version "" is the server's choice."""

    server: str
    model: str
    version: str = ""


class RemoteModel:
    """Sends batches to a server."""

    def __init__(self, stub: GRPCInferenceServiceStub, target: Target, codec: InferCodec, platform: str) -> None:
        self.platform = platform
        self._stub = stub
        self._target = target
        self._codec = codec

    async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
        """Send one batch and read its outputs, which are read-only."""
        rows = len(next(iter(inputs.values())))
        request = self._codec.encode(inputs, rows)
        with failures_of(self._target.server):
            # gRPC takes what it cannot count for a time that is over.
            response = await self._stub.ModelInfer(request, timeout=min(timeout_s, LONGEST_S))
        return self._codec.decode(response, rows)


class OipModel(RemoteModel):
    """A model that somebody else has loaded."""

    # The server may have several instances, replicas, or a queue that gathers batches; it does not tell.
    parallel = 4
    ahead = 0

    def __init__(
        self,
        stub: GRPCInferenceServiceStub,
        target: Target,
        codec: InferCodec,
        platform: str,
        disconnect: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(stub, target, codec, platform)
        self._disconnect = disconnect

    async def revive(self) -> None:
        """See whether it is ready, as nothing else can be done from here."""
        await ask_ready(self._stub, self._target)

    async def close(self) -> None:
        """Close the connection."""
        await self._disconnect()


class OipRuntime:
    """Uses models that are ready at the targets of their artifacts."""

    name = "oip"

    async def load(self, placement: Placement, artifact: Path | None) -> OipModel:  # noqa: ARG002 - it has no bytes
        """Connect, and compare what the server declares; UpstreamUnavailable while the model is not ready there."""
        address, target = _parse(placement.artifact.target, placement.version.model)
        async with AsyncExitStack() as stack:
            opened = open_stub(address, GRPCInferenceServiceStub, max_message_bytes=MAX_MESSAGE_BYTES, foreign=True)
            stub = await stack.enter_async_context(opened)
            await ask_ready(stub, target)
            codec, platform = await ask_codec(stub, target, placement.version.signature)
            return OipModel(stub, target, codec, platform or self.name, stack.pop_all().aclose)


async def ask_ready(stub: GRPCInferenceServiceStub, target: Target) -> None:
    """Raise UpstreamUnavailable unless the model is ready at the server."""
    request = oip.ModelReadyRequest(name=target.model, version=target.version)
    try:
        with failures_of(target.server):
            ready = (await stub.ModelReady(request, timeout=CONTROL_TIMEOUT_S)).ready
    except RuntimeFailed:
        # MLServer says UNKNOWN of a model that it does not have.
        ready = False
    if not ready:
        version = f" of version {target.version!r}" if target.version else ""
        raise UpstreamUnavailable(f"{target.server} has no model {target.model!r}{version} that is ready")


async def ask_codec(
    stub: GRPCInferenceServiceStub, target: Target, signature: Signature, names: Mapping[str, str] | None = None
) -> tuple[InferCodec, str]:
    """Ask how to talk to a model, and its platform; raises SignatureMismatch. `names` as in `remote_signature`."""
    request = oip.ModelMetadataRequest(name=target.model, version=target.version)
    with failures_of(target.server):
        metadata = await stub.ModelMetadata(request, timeout=CONTROL_TIMEOUT_S)
    return InferCodec(target.model, target.version, remote_signature(signature, metadata, names)), metadata.platform


def _parse(text: str, model: str) -> tuple[str, Target]:
    """Read HOST:PORT[/MODEL[/VERSION]]; without a name it is `model`."""
    address, _, rest = text.partition("/")
    name, _, version = rest.partition("/")
    if not address:
        raise InvalidArtifact("the artifact names no server; its target is HOST:PORT[/MODEL[/VERSION]]")
    return address, Target("the inference server", name or model, version)
