"""A registry in both worlds: in process and over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest

from tests.support.definitions import endpoint, model, view
from tests.support.registry import Client, World, registry


@pytest.fixture(params=get_args(World))
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    """A registry without definitions."""
    async with registry(tmp_path, request.param) as client:
        yield client


@pytest.fixture
async def full(empty: Client) -> Client:
    """A registry with one view, one model with one version, its champion, and one endpoint."""
    await fill(empty)
    return empty


async def fill(client: Client) -> None:
    """Define one of each."""
    await client.apply(view(), model())
    await client.upload()
    await client.register()
    await client.apply(model(champion="1.0.0"), endpoint())
