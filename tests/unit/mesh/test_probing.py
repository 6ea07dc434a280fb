"""Whether a replica is well, as its health service says, once it can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from services.mesh.channel import channel_options
from services.mesh.probing import health_probe
from services.mesh.replicas import Probe
from tests.support.probe import new_probe, server


@asynccontextmanager
async def probing(address: str) -> AsyncIterator[Probe]:
    """Probe whoever is there."""
    async with grpc.aio.insecure_channel(address, options=channel_options(1_000_000)) as channel:
        yield health_probe(channel)


async def test_it_is_well_while_it_serves() -> None:
    """Not before, and not once it drains."""
    async with server(new_probe()) as serving, probing(serving.address) as probe:
        assert not await probe(10)
        await serving.set_serving(True)
        assert await probe(10)
        await serving.set_serving(False)
        assert not await probe(10)


async def test_one_without_a_health_service() -> None:
    """It is there, and nothing else can be known of it."""
    serving = grpc.aio.server()
    port = serving.add_insecure_port("127.0.0.1:0")
    await serving.start()
    async with probing(f"127.0.0.1:{port}") as probe:
        assert await probe(10)
    await serving.stop(None)


async def test_nobody_there_and_then_somebody(tmp_path: Path) -> None:
    """A probe waits for the connection, however often that is refused, and for no longer than it is told to."""
    address = f"unix:{tmp_path}/s"
    async with probing(address) as probe:
        assert not await probe(0.1)
        waiting = asyncio.ensure_future(probe(30))
        serving = grpc.aio.server()
        serving.add_insecure_port(address)
        await serving.start()
        assert await waiting
        await serving.stop(None)
