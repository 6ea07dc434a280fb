"""The world that the command line of pytest asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.worlds.inprocess import inprocess
from tests.worlds.mesh import Addresses, Mesh, connect
from tests.worlds.up import up


@asynccontextmanager
async def chosen_mesh(config: pytest.Config, directory: Path) -> AsyncIterator[Mesh]:
    """Run the mesh, or connect to the one that is there."""
    world = config.getoption("--mesh")
    async with AsyncExitStack() as stack:
        if world == "inprocess":
            addresses = await stack.enter_async_context(inprocess(directory))
        elif world == "processes":
            addresses = stack.enter_context(up(directory)).addresses
        else:
            others = (config.getoption(f"--{service}") or world for service in ("features", "model", "registry"))
            addresses = Addresses(world, *others)
        yield await stack.enter_async_context(connect(addresses))
