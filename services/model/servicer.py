"""The two services of the port: inference by the Open Inference Protocol, and what is loaded."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from importlib.metadata import version as installed_version

from tritonclient.grpc import service_pb2 as oip

from predictmesh.model.v1 import model_service_pb2 as pb
from predictmesh.model.v1.model_service_pb2_grpc import ModelServiceServicer
from services.mesh.context import current
from services.mesh.errors import DeadlineExceeded, MeshError, UnknownMethod
from services.mesh.methods import ServerContext, UnaryCall
from services.model.calls import Answer
from services.model.convert import encode_statuses
from services.model.engine import Engine
from services.model.oip.describe import encode_config, encode_index, encode_metadata, encode_statistics
from services.model.oip.infer import decode_infer, encode_infer, requested_outputs
from services.model.settings import Settings
from services.model.statuses import State, StatusBoard

logger = logging.getLogger(__name__)

# Why methods of the protocol are not offered.
_LOADING = "what is loaded follows from the registry"
_SHARED_MEMORY = "tensors travel in messages, not in shared memory"
_SETTINGS = "this process is told how to trace and to log when it starts"


class ModelServicer(ModelServiceServicer):
    """Answers what this process has loaded."""

    def __init__(self, board: StatusBoard) -> None:
        self._board = board

    async def DescribeRuntimes(
        self, request: pb.DescribeRuntimesRequest, context: ServerContext
    ) -> pb.DescribeRuntimesResponse:
        """Answer every status now."""
        return pb.DescribeRuntimesResponse(runtimes=encode_statuses(self._board.current))

    async def WatchRuntimes(
        self, request: pb.WatchRuntimesRequest, context: ServerContext
    ) -> AsyncIterator[pb.WatchRuntimesResponse]:
        """Send every status now and after each change; a slow watcher misses those between."""
        async for statuses in self._board.changes():
            yield pb.WatchRuntimesResponse(runtimes=encode_statuses(statuses))


def _refused(method: str, why: str) -> UnaryCall:
    """Make the handler of a method that the protocol has and this server does not offer."""

    async def refuse(request: object, context: ServerContext) -> None:  # noqa: ARG001 - the signature is a handler's
        raise UnknownMethod(f"{method} is not offered: {why}", method=method)

    return staticmethod(refuse)


class InferenceServicer:
    """Answers the Open Inference Protocol with what is loaded. Loading itself is declarative: no call changes it."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._release = installed_version("predictmesh")

    async def ServerLive(self, request: oip.ServerLiveRequest, context: ServerContext) -> oip.ServerLiveResponse:
        """Answer that the process lives."""
        return oip.ServerLiveResponse(live=True)

    async def ServerReady(self, request: oip.ServerReadyRequest, context: ServerContext) -> oip.ServerReadyResponse:
        """Answer whether the first snapshot is loaded."""
        return oip.ServerReadyResponse(ready=not self._engine.not_ready())

    async def ModelReady(self, request: oip.ModelReadyRequest, context: ServerContext) -> oip.ModelReadyResponse:
        """Answer whether a version answers here; what is unknown does not."""
        try:
            self._engine.find(request.name, request.version)
        except MeshError:
            return oip.ModelReadyResponse(ready=False)
        return oip.ModelReadyResponse(ready=True)

    async def ServerMetadata(
        self, request: oip.ServerMetadataRequest, context: ServerContext
    ) -> oip.ServerMetadataResponse:
        """Answer which server this is."""
        return oip.ServerMetadataResponse(name="predictmesh", version=self._release, extensions=["statistics"])

    async def ModelMetadata(
        self, request: oip.ModelMetadataRequest, context: ServerContext
    ) -> oip.ModelMetadataResponse:
        """Answer the signature of a version."""
        serving = self._engine.find(request.name, request.version)
        return encode_metadata(serving, self._engine.versions_answering(request.name))

    async def ModelInfer(self, request: oip.ModelInferRequest, context: ServerContext) -> oip.ModelInferResponse:
        """Compute rows."""
        with self._engine.find(request.model_name, request.model_version) as serving:
            signature = serving.version.signature
            outputs = requested_outputs(request, signature)
            running = current()
            limited = running is not None and running.deadline is not None
            deadline = running.deadline.at if running is not None and running.deadline is not None else self._default()
            call = decode_infer(request, signature, self._settings.max_call_rows, deadline)
            answer = await serving.infer(call) if limited else await _until(serving.infer(call), deadline)
            return encode_infer(request, serving.version, outputs, answer)

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[oip.ModelInferRequest], context: ServerContext
    ) -> AsyncIterator[oip.ModelStreamInferResponse]:
        """Compute rows of each request, in order; one that fails is answered in its place and ends nothing."""
        async for request in request_iterator:
            try:
                response = await self.ModelInfer(request, context)
            except MeshError as error:
                unanswered = oip.ModelInferResponse(model_name=request.model_name, id=request.id)
                message = f"{error.reason}: {error.message}"
                yield oip.ModelStreamInferResponse(error_message=message, infer_response=unanswered)
            else:
                yield oip.ModelStreamInferResponse(infer_response=response)

    async def ModelConfig(self, request: oip.ModelConfigRequest, context: ServerContext) -> oip.ModelConfigResponse:
        """Answer the configuration of a version, in Triton's terms."""
        return encode_config(self._engine.find(request.name, request.version), self._settings.max_batch_rows)

    async def ModelStatistics(
        self, request: oip.ModelStatisticsRequest, context: ServerContext
    ) -> oip.ModelStatisticsResponse:
        """Answer the counters of one version; without a version of all of a model, without a name of all."""
        if request.name:
            self._engine.find(request.name, request.version)
        return encode_statistics(
            serving
            for serving in self._engine.servings()
            if request.name in {"", serving.version.model} and request.version in {"", serving.version.version}
        )

    async def RepositoryIndex(
        self, request: oip.RepositoryIndexRequest, context: ServerContext
    ) -> oip.RepositoryIndexResponse:
        """List versions; only those that answer if asked so."""
        statuses = self._engine.board.current
        return encode_index(status for status in statuses if not request.ready or status.state is State.READY)

    RepositoryModelLoad = _refused("RepositoryModelLoad", _LOADING)
    RepositoryModelUnload = _refused("RepositoryModelUnload", _LOADING)
    SystemSharedMemoryStatus = _refused("SystemSharedMemoryStatus", _SHARED_MEMORY)
    SystemSharedMemoryRegister = _refused("SystemSharedMemoryRegister", _SHARED_MEMORY)
    SystemSharedMemoryUnregister = _refused("SystemSharedMemoryUnregister", _SHARED_MEMORY)
    CudaSharedMemoryStatus = _refused("CudaSharedMemoryStatus", _SHARED_MEMORY)
    CudaSharedMemoryRegister = _refused("CudaSharedMemoryRegister", _SHARED_MEMORY)
    CudaSharedMemoryUnregister = _refused("CudaSharedMemoryUnregister", _SHARED_MEMORY)
    TraceSetting = _refused("TraceSetting", _SETTINGS)
    LogSettings = _refused("LogSettings", _SETTINGS)

    def _default(self) -> float:
        """Say when a call without a deadline must be answered, in monotonic seconds."""
        return time.monotonic() + self._settings.default_timeout_ms / 1000


async def _until(answer: Awaitable[Answer], deadline: float) -> Answer:
    """End what no caller's deadline ends."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await answer
    except TimeoutError as error:
        raise DeadlineExceeded("the time for a call without a deadline of its own was over") from error
