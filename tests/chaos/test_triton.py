"""Tritons die, hang, and come back without their models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.chaos.harness.book import Book
from tests.chaos.harness.fleet import REPLICAS, Layout, fleet
from tests.chaos.harness.ground import prepared
from tests.chaos.harness.stage import Stage
from tests.chaos.harness.trial import Pace
from tests.chaos.harness.verdict import Demands
from tests.support.triton import TritonServer, triton_server

# A model service tries a runtime that has failed once a second, and loads what it has lost; a busy machine takes its time.
# The trial goes on for longer, as a runtime that does not come back could not be told from one that is about to.
RECOVERY_S, AFTER_S = 5.0, 7.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tritons(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[TritonServer, ...]]:
    """One for each model service."""
    async with AsyncExitStack() as stack:
        directories = [tmp_path_factory.mktemp("triton") for _ in range(REPLICAS)]
        yield tuple([await stack.enter_async_context(triton_server(directory)) for directory in directories])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def on_tritons(
    tmp_path_factory: pytest.TempPathFactory, tritons: tuple[TritonServer, ...], pace: Pace, book: Book
) -> AsyncIterator[Stage]:
    """A fleet whose model has Triton for its first runtime, and ONNX Runtime for its second."""
    directory = tmp_path_factory.mktemp("chaos")
    async with fleet(directory, Layout(tritons)) as made, prepared(made, ("triton", "onnx")) as ground:
        yield Stage(made, ground, replace(pace, after_s=max(pace.after_s, AFTER_S)), book)


@asynccontextmanager
async def killed(*servers: TritonServer) -> AsyncIterator[None]:
    """End servers as a crash does; they come back without a model."""
    for server in servers:
        server.kill()
    yield
    for server in servers:
        await server.restart()


@asynccontextmanager
async def suspended(*servers: TritonServer) -> AsyncIterator[None]:
    """Let servers not run at all."""
    for server in servers:
        server.suspend()
    try:
        yield
    finally:
        for server in servers:
            server.resume()


async def test_tritons_die(on_tritons: Stage, tritons: tuple[TritonServer, ...]) -> None:
    """No call fails: the next runtime answers, and the answers say so, until Triton has its model again."""
    verdict = await on_tritons.trial(lambda: killed(*tritons), Demands(failures=0, recovery_s=RECOVERY_S))
    assert verdict.degraded["RUNTIME_FAILED"]


@pytest.mark.soak
async def test_tritons_hang(on_tritons: Stage, tritons: tuple[TritonServer, ...]) -> None:
    """The same, before anybody's time is over."""
    verdict = await on_tritons.trial(lambda: suspended(*tritons), Demands(failures=0, recovery_s=RECOVERY_S))
    assert verdict.degraded.keys() & {"RUNTIME_FAILED", "RUNTIME_SLOW"}
