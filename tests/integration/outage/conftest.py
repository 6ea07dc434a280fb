"""A mesh of separate processes for the tests of this folder, whole again before each of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from tests.support.onnx_models import linear
from tests.worlds.loop import share_loop
from tests.worlds.mesh import connect
from tests.worlds.parts import Part, Parts, parts
from tests.worlds.resources import field, view
from tests.worlds.sandbox import Sandbox, eventually


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder in the loop of the mesh."""
    share_loop(items, __file__)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Parts]:
    """The processes."""
    async with parts(tmp_path_factory.mktemp("outage")) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def whole(running: Parts) -> Parts:
    """The processes, all of them running, and the store asked again by those whom an earlier test has parted from it."""
    await running.up()
    for part in running.features:
        await eventually(lambda part=part: asks_the_store(part), f"{part.directory.name} asking the store")  # type: ignore[misc]
    return running


async def asks_the_store(part: Part) -> bool:
    """Whether a feature service has no breaker open to the store."""
    metrics = await asyncio.to_thread(part.metrics)
    return bool(metrics) and not re.search(r'^predictmesh_breaker_open{hop="store",[^}]*} 1', metrics, re.MULTILINE)


@pytest_asyncio.fixture(loop_scope="session")
async def own(whole: Parts) -> AsyncIterator[Sandbox]:
    """Endpoint `ride` of model `ride`, version 1.0.0 by the alias champion: ten times the rider's number, as stored."""
    async with connect(whole.addresses) as mesh:
        made = Sandbox(mesh)
        await made.view(view("rider", field("tens"), entity="rider", keys={"rider_id": "STRING"}))
        await made.model("ride")
        await made.register("ride", "1.0.0", linear(1.0, width=1), {"x": ["rider:tens"]})
        await made.until_runtime("ride", "1.0.0", processes=len(whole.models))
        await made.model("ride", champion="1.0.0")
        await made.endpoint("ride", "ride", alias="champion")
        keys = {"rider_id": [f"r{number}" for number in range(10)]}
        await made.write("rider", keys, {"tens": [10.0 * number for number in range(10)]})

        async def answers() -> bool:
            try:
                await made.predict("ride", {"rider_id": ["r0"]})
            except grpc.aio.AioRpcError:
                return False  # a breaker that an earlier test's outage opened has not closed yet
            return True

        await eventually(answers, "a first answer")
        yield made
