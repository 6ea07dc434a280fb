"""Every runtime adapter, opened for a test with what it needs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from predictmesh.model.v1.runtime_pb2 import RUNTIME_STATE_READY
from services.model.runtimes import LoadedModel, Runtime
from services.model.runtimes.oip import OipRuntime
from services.model.runtimes.onnx import OnnxRuntime
from services.model.runtimes.triton import open_triton
from services.model.runtimes.triton_config import Instances
from services.model.versions import Artifact, Placement, Signature, Version
from tests.support.model_process import ModelProcess, model_process, states
from tests.support.onnx_models import OnnxModel
from tests.support.triton import TritonServer, triton_server

INSTANCES = Instances(count=1, kind="auto", batch_rows=256)


# Opens one runtime and yields a way to load models into it.
Opening: TypeAlias = Callable[[Path], AbstractAsyncContextManager["Loading"]]


@dataclass
class Loading:
    """Loads models on one runtime, from files in `directory`."""

    runtime: Runtime
    directory: Path

    async def __call__(self, model: OnnxModel, signature: Signature | None = None) -> LoadedModel:
        """Load a model, with another signature than its own if one is given."""
        return await self.version(replace(model.version(), signature=signature or model.signature), model.content)

    async def version(self, version: Version, content: bytes, form: str = "onnx") -> LoadedModel:
        """Load a version of which `content` is the artifact."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.directory / sha256
        path.write_bytes(content)
        return await self.runtime.load(Placement(version, Artifact(self.runtime.name, sha256, form)), path)


@dataclass
class LoadingElsewhere(Loading):
    """Has a server load each model first, by its own signature, and then uses it there."""

    server: ModelProcess
    published: list[Version] = field(default_factory=list)

    async def __call__(self, model: OnnxModel, signature: Signature | None = None) -> LoadedModel:
        """Load a model, with another signature than its own if one is given."""
        name = f"m{len(self.published)}"
        self.published.append(model.version(name))
        self.server.upload(model)
        self.server.publish(*self.published)
        await self.server.settled(lambda reported: states(reported).get(f"{name}@1.0.0") == RUNTIME_STATE_READY)
        version = replace(model.version(), signature=signature or model.signature)
        target = f"{self.server.address}/{name}/1.0.0"
        return await self.runtime.load(Placement(version, Artifact(self.runtime.name, "", "", target)), None)


@contextmanager
def shared_triton(directory: Path) -> Iterator[TritonServer]:
    """A Triton for the tests of a module, each of which has an event loop of its own."""
    with asyncio.Runner() as runner:
        opened = triton_server(directory)
        yield runner.run(opened.__aenter__())
        runner.run(opened.__aexit__(None, None, None))


@asynccontextmanager
async def onnx(directory: Path) -> AsyncIterator[Loading]:
    """ONNX Runtime in this process."""
    runtime = OnnxRuntime(threads=2, intra_op_threads=1)
    yield Loading(runtime, directory)
    runtime.close()


@asynccontextmanager
async def oip(directory: Path) -> AsyncIterator[Loading]:
    """A server of the Open Inference Protocol: our own."""
    async with model_process(directory) as server:
        yield LoadingElsewhere(OipRuntime(), directory, server)


def triton(server: TritonServer) -> Opening:
    """Triton, which may have been used by others."""

    @asynccontextmanager
    async def opening(directory: Path) -> AsyncIterator[Loading]:
        async with open_triton(server.grpc, server.repository, INSTANCES, load_timeout_s=30) as runtime:
            yield Loading(runtime, directory)

    return opening
