"""The model service in front of a real Triton that is killed, suspended and restarted, with ONNX Runtime behind it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from predictmesh.model.v1 import runtime_pb2
from services.model.versions import Artifact, Version
from tests.support.model_process import ModelProcess, model_process
from tests.support.onnx_models import OnnxModel, linear
from tests.support.triton import TritonServer, triton_server
from tests.support.waiting import eventually

READY, FAILED = runtime_pb2.RUNTIME_STATE_READY, runtime_pb2.RUNTIME_STATE_FAILED
CALLERS = 16
ROW_MS = "3000"


def version_of(model: OnnxModel, *runtimes: str, name: str = "m") -> Version:
    """Define a version of the model on these runtimes, the first choice first."""
    artifacts = tuple(Artifact(runtime, model.sha256) for runtime in runtimes)
    digest = hashlib.sha256(f"{name} {model.sha256} {runtimes}".encode()).hexdigest()
    return replace(model.version(name), digest=digest, artifacts=artifacts)


@dataclass
class World:
    """A model service and its Triton."""

    server: TritonServer
    process: ModelProcess
    client: triton.InferenceServerClient

    async def publish(self, model: OnnxModel, *versions: Version) -> None:
        """Define versions of one model, and wait until they are loaded everywhere."""
        self.process.upload(model)
        self.process.publish(*versions)
        wanted = {(version.model, artifact.runtime): READY for version in versions for artifact in version.artifacts}
        await eventually(lambda: self.states() == wanted, within_s=30)

    def states(self) -> dict[tuple[str, str], int]:
        """Return where each model stands on each runtime."""
        return {(status.model, status.runtime): status.state for status in self.process.reported()}

    async def ask(self, value: float, model: str = "m") -> str:
        """Ask for one row with three seconds left, check the answer, and return what the service says of its source."""
        given = triton.InferInput("x", [1, 16], "FP32")
        given.set_data_from_numpy(np.full((1, 16), value, np.float32))
        result = await self.client.infer(model, [given], parameters={"pm_rows": ROW_MS}, client_timeout=3)
        assert [[16 * value]] == result.as_numpy("y").tolist()
        return str(result.get_response().parameters["pm_runtime"].string_param)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Both, and nothing loaded."""
    async with triton_server(tmp_path / "triton") as server:
        settings = {"triton": server.grpc, "triton_repository": server.repository}
        async with (
            model_process(tmp_path, **settings) as process,
            triton.InferenceServerClient(process.address) as client,
        ):
            yield World(server, process, client)


@dataclass
class Load:
    """What concurrent callers were told so far."""

    sources: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def from_triton(self) -> int:
        return self.sources["triton"]

    def from_fallback(self) -> int:
        return sum(count for source, count in self.sources.items() if source.startswith("onnx;"))


@asynccontextmanager
async def under_load(world: World, *models: str) -> AsyncIterator[Load]:
    """Keep callers busy, and check at the end that none has failed."""
    load = Load()

    async def caller(number: int) -> None:
        while True:
            try:
                load.sources[await world.ask(number, models[number % len(models)])] += 1
            except InferenceServerException as error:
                load.failures.append(str(error))

    callers = [asyncio.create_task(caller(number)) for number in range(CALLERS)]
    try:
        yield load
    finally:
        for task in callers:
            task.cancel()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [] == load.failures
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes


async def grows(count: Callable[[], int], by: int = 100, within_s: float = 30) -> None:
    """Wait until a count has grown."""
    start = count()
    await eventually(lambda: count() >= start + by, within_s=within_s)


async def test_killing_triton_under_load_fails_nothing(world: World) -> None:
    """ONNX Runtime answers and says why; Triton answers again when it is back, with all that it has lost."""
    model = linear()
    await world.publish(model, version_of(model, "triton", "onnx"), version_of(model, "triton", "onnx", name="other"))
    async with under_load(world, "m", "other") as load:
        await grows(load.from_triton)
        world.server.kill()
        await grows(load.from_fallback)
        await eventually(lambda: world.states()["m", "triton"] == FAILED)
        assert READY == world.states()["m", "onnx"]
        await world.server.restart()
        await grows(load.from_triton)
        await eventually(lambda: set(world.states().values()) == {READY})
    assert {"triton", "onnx;RUNTIME_FAILED;triton"} >= set(load.sources)


async def test_a_hung_triton_under_load_fails_nothing(world: World) -> None:
    """A suspended process accepts batches and answers none: their rows go elsewhere while there is time."""
    model = linear()
    await world.publish(model, version_of(model, "triton", "onnx"))
    async with under_load(world, "m") as load:
        await grows(load.from_triton)
        with world.server.stop_cont():
            await grows(load.from_fallback)
            await eventually(lambda: world.states()["m", "triton"] == FAILED)
        await grows(load.from_triton)
    assert "onnx;RUNTIME_SLOW;triton" in load.sources


async def test_a_dead_backend_under_load_fails_nothing_and_is_healed(world: World) -> None:
    """Triton says that the model is ready, and answers INTERNAL: it is loaded again, and its neighbour is not disturbed."""
    model = linear()
    await world.publish(model, version_of(model, "triton", "onnx"), version_of(model, "triton", "onnx", name="other"))
    async with under_load(world, "m", "other") as load:
        await grows(load.from_triton)
        world.server.stubs()[0].kill()
        await grows(load.from_fallback, by=5)
        await eventually(lambda: set(world.states().values()) == {READY}, within_s=30)
        await grows(load.from_triton)


async def test_without_a_fallback_the_other_versions_keep_answering(world: World) -> None:
    """Who has only Triton is told UNAVAILABLE at once, and answered again when it is back."""
    model = linear()
    await world.publish(model, version_of(model, "triton"), version_of(model, "onnx", name="plain"))
    assert "triton" == await world.ask(1)
    world.server.kill()
    with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
        await world.ask(1)
    assert "onnx" == await world.ask(1, "plain")
    await world.server.restart()
    await eventually(lambda: world.states()["m", "triton"] == READY, within_s=30)
    assert "triton" == await world.ask(1)


async def test_a_service_that_starts_without_its_triton_answers_all_the_same(tmp_path: Path) -> None:
    """It says that the first choice is not ready, and takes it up when it comes."""
    model = linear()
    async with triton_server(tmp_path / "triton") as server:
        server.kill()
        settings = {"triton": server.grpc, "triton_repository": server.repository}
        async with (
            model_process(tmp_path, **settings) as process,
            triton.InferenceServerClient(process.address) as client,
        ):
            world = World(server, process, client)
            process.upload(model)
            process.publish(version_of(model, "triton", "onnx"))
            await eventually(lambda: world.states().get(("m", "onnx")) == READY)
            assert "onnx;RUNTIME_NOT_READY;triton" == await world.ask(1)
            await eventually(lambda: process.service.ready() == "")
            await server.restart()
            await eventually(lambda: world.states()["m", "triton"] == READY, within_s=30)
            assert "triton" == await world.ask(1)
