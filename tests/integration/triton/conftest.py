"""Triton, and ways to use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import tritonclient.grpc.aio as client

from tests.support.runtimes import Loading, shared_triton, triton
from tests.support.triton import TritonServer, triton_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """One Triton for the tests of a module, which leave it as they found it."""
    with shared_triton(tmp_path_factory.mktemp("triton")) as started:
        yield started


@pytest.fixture
async def load(server: TritonServer, tmp_path: Path) -> AsyncIterator[Loading]:
    """A runtime of the test's own on the shared Triton."""
    async with triton(server)(tmp_path) as loading:
        yield loading


@pytest.fixture
async def asked(server: TritonServer) -> AsyncIterator[client.InferenceServerClient]:
    """Triton's own client, to see what is there."""
    async with client.InferenceServerClient(server.grpc) as opened:
        yield opened


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[TritonServer]:
    """A Triton of the test's own, to do what it wants with."""
    async with triton_server(tmp_path / "triton") as started:
        yield started


@pytest.fixture
async def own_load(own_server: TritonServer, tmp_path: Path) -> AsyncIterator[Loading]:
    """A runtime on it."""
    async with triton(own_server)(tmp_path) as loading:
        yield loading
