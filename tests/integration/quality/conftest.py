"""A registry in both worlds, with an endpoint whose predictions are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest

from tests.integration.registry.conftest import fill
from tests.support.registry import Client, World, registry


@pytest.fixture(params=get_args(World))
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    """A registry with one endpoint, churn."""
    async with registry(tmp_path, request.param) as opened:
        await fill(opened)
        yield opened
