"""Ensembles of deployed versions, when Triton or one of the versions goes away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from predictmesh.model.v1.runtime_pb2 import RUNTIME_STATE_FAILED
from services.model.versions import Version
from tests.support import model_kinds as kinds
from tests.support.model_process import ModelProcess, model_process
from tests.support.onnx_models import linear
from tests.support.triton import TritonServer, triton_server
from tests.support.waiting import eventually, eventually_answers

SUM, DOUBLE = linear(1), linear(2, width=1)


@dataclass
class World:
    """A model service, its Triton, and the versions of an ensemble: first the steps, then itself."""

    server: TritonServer
    process: ModelProcess
    client: triton.InferenceServerClient
    versions: tuple[Version, ...]

    async def load(self, *versions: Version) -> None:
        """Define exactly these versions, and wait until they are loaded."""
        self.process.publish(*versions)
        await eventually(lambda: kinds.ready(self.process) == kinds.placed(*versions), within_s=30)

    async def score(self) -> list[list[float]] | None:
        """Return what the ensemble answers for a row of ones; None if it does not."""
        row = triton.InferInput("row", [1, 16], "FP32")
        row.set_data_from_numpy(np.ones((1, 16), np.float32))
        try:
            result = await self.client.infer("both", [row], client_timeout=5)
        except InferenceServerException:
            return None
        scores: list[list[float]] = result.as_numpy("score").tolist()
        return scores

    async def answers(self) -> bool:
        """Whether the ensemble answers, and rightly."""
        score = await self.score()
        assert score in ([[32]], None)
        return score is not None


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """With nothing loaded."""
    steps = kinds.version(SUM, "sum"), kinds.version(DOUBLE, "doubled")
    both = kinds.ensemble(*steps)
    versions = (*steps, kinds.version(both, "both", form="ensemble"))
    async with (
        triton_server(tmp_path / "triton") as server,
        model_process(tmp_path, triton=server.grpc, triton_repository=server.repository) as process,
        triton.InferenceServerClient(process.address) as client,
    ):
        process.upload(SUM, DOUBLE, both)
        yield World(server, process, client, versions)


async def test_an_ensemble_waits_for_its_steps(world: World) -> None:
    """It may be defined before them."""
    *steps, both = world.versions
    world.process.publish(both)
    await eventually(lambda: {RUNTIME_STATE_FAILED} == {status.state for status in world.process.reported()})
    await world.load(*steps, both)
    assert await world.answers()


async def test_an_ensemble_comes_back_after_a_restart_of_triton(world: World) -> None:
    """With its steps, for which nobody has asked yet."""
    await world.load(*world.versions)
    assert await world.answers()
    await world.server.restart()
    await eventually_answers(world.answers)


async def test_an_ensemble_comes_back_when_the_process_of_a_step_dies(world: World) -> None:
    """Though Triton takes both to be ready, and nobody asks for the step itself."""
    await world.load(*world.versions)
    world.server.stubs()[0].kill()
    await eventually_answers(world.answers)
