"""Puts the model service together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY
from prometheus_client.registry import Collector
from tenacity import wait_random_exponential
from tritonclient.grpc.service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

from predictmesh.model.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.mesh.channel import open_stub
from services.mesh.lifecycle import Service
from services.mesh.methods import Servicer
from services.mesh.objects import Objects, artifact_path
from services.mesh.security.identity import open_identity
from services.mesh.snapshots import SnapshotReader
from services.model.artifacts import Artifacts
from services.model.clients import RuntimeReporter
from services.model.convert import decode_catalog, decode_golden
from services.model.engine import Engine
from services.model.golden import GoldenSets
from services.model.loader import Loader
from services.model.metrics import ModelMetrics
from services.model.runtimes import Runtime
from services.model.runtimes.oip import OipRuntime
from services.model.runtimes.onnx import OnnxRuntime
from services.model.runtimes.triton import open_triton
from services.model.runtimes.triton_config import Instances
from services.model.schedule import Limits
from services.model.servicer import InferenceServicer, ModelServicer
from services.model.settings import Settings
from services.model.triton_metrics import TritonMetrics

if TYPE_CHECKING:
    from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub


@asynccontextmanager
async def build(settings: Settings, *, registry: RegistryServiceAsyncStub | None = None) -> AsyncIterator[Service]:
    """Build the service; without a `registry` it opens a channel to the one in the settings."""
    async with AsyncExitStack() as stack:
        if registry is None:
            identity = await stack.enter_async_context(open_identity(settings.tls_for_calls))
            limit = settings.max_message_bytes
            registry = await stack.enter_async_context(
                open_stub(
                    settings.registry,
                    RegistryServiceStub,
                    max_message_bytes=limit,
                    identity=identity,
                    token=settings.own_token(),
                )
            )
        objects = Objects.open(settings.objects)
        runtimes = await _open_runtimes(settings, stack)
        engine = _open_engine(settings, objects, runtimes, stack)
        reader = await stack.enter_async_context(
            SnapshotReader(registry, subscriber="model", objects=objects, cache=settings.data_dir / "snapshot")
        )
        reader.subscribe(lambda snapshot: engine.use(decode_catalog(snapshot)))
        reporting = asyncio.create_task(RuntimeReporter(registry, engine.board).run(), name="report runtimes")
        stack.callback(reporting.cancel)
        yield _service(engine, settings, reader)


async def _open_runtimes(settings: Settings, stack: AsyncExitStack) -> Mapping[str, Runtime]:
    onnx = OnnxRuntime(settings.compute_threads, settings.intra_op_threads)
    stack.callback(onnx.close)
    runtimes: list[Runtime] = [onnx, OipRuntime()]
    if settings.triton and settings.triton_repository:
        instances = Instances(settings.triton_instances, settings.triton_kind, settings.max_batch_rows)
        triton = open_triton(settings.triton, settings.triton_repository, instances, settings.load_timeout_s)
        runtimes.append(await stack.enter_async_context(triton))
    if settings.triton_metrics:
        _register(TritonMetrics(settings.triton_metrics), stack)
    return {runtime.name: runtime for runtime in runtimes}


def _open_engine(
    settings: Settings, objects: Objects, runtimes: Mapping[str, Runtime], stack: AsyncExitStack
) -> Engine:
    async def fetch(sha256: str) -> bytes:
        return await objects.get(artifact_path(sha256))

    artifacts = Artifacts(settings.data_dir / "artifacts", fetch)
    loader = Loader(
        runtimes,
        artifacts,
        GoldenSets(artifacts, decode_golden),
        Limits(settings.max_batch_rows, settings.max_rows_in_flight),
        parallel=settings.load_parallel,
        timeout_s=settings.load_timeout_s,
    )
    # Random, so that pods which failed together do not come back together.
    retry = wait_random_exponential(settings.load_retry_s, settings.load_retry_max_s)
    engine = Engine(loader, retry)
    stack.push_async_callback(engine.close)
    _register(ModelMetrics(engine), stack)
    return engine


def _register(metrics: Collector, stack: AsyncExitStack) -> None:
    REGISTRY.register(metrics)
    stack.callback(REGISTRY.unregister, metrics)


def _service(engine: Engine, settings: Settings, reader: SnapshotReader) -> Service:
    def status() -> dict[str, object]:
        return {
            "snapshot_revision": reader.current.revision if reader.current else None,
            "registry_reachable": reader.reachable,
            "versions": [
                {
                    "version": f"{status.model}@{status.version}",
                    "runtime": status.runtime,
                    "state": status.state.value,
                    "message": status.message,
                    "golden": status.golden.value,
                }
                for status in engine.board.current
            ],
        }

    return Service(
        name="model",
        servicers=[
            Servicer(add_GRPCInferenceServiceServicer_to_server, InferenceServicer(engine, settings)),
            Servicer(add_ModelServiceServicer_to_server, ModelServicer(engine.board)),
        ],
        ready=engine.not_ready,
        status=status,
    )
