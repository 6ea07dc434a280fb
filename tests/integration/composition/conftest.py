"""Composed versions of models whose answers are known, or made up by the test as it goes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.scripted_models import ScriptedModels, scripted_models
from tests.worlds.compositions import Compositions
from tests.worlds.loop import share_loop
from tests.worlds.sandbox import Sandbox


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder in the loop of the mesh."""
    share_loop(items, __file__)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server() -> AsyncIterator[ScriptedModels]:
    """The server whose models do as they are told; the mesh must be on this machine."""
    async with scripted_models() as opened:
        yield opened


@pytest.fixture(scope="module")
def whole(server: ScriptedModels, own: Sandbox) -> Compositions:
    """The module's namespace, to define models and compositions of them."""
    return Compositions(own, server)
