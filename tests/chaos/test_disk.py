"""The disk that everything lies on is full: definitions, the store's append-only file, snapshots, logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.harness.book import Book
from tests.chaos.harness.fleet import fleet
from tests.chaos.harness.ground import prepared
from tests.chaos.harness.stage import Stage
from tests.chaos.harness.trial import Pace
from tests.chaos.harness.verdict import Demands
from tests.chaos.harness.writers import lost_features
from tests.support.disk import full, small_disk


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def on_disk(tmp_path_factory: pytest.TempPathFactory, pace: Pace, book: Book) -> AsyncIterator[Stage]:
    """A fleet on a small disk."""
    with small_disk(tmp_path_factory.mktemp("disk")) as directory:
        async with fleet(directory) as made, prepared(made) as ground:
            yield Stage(made, ground, pace, book)


@asynccontextmanager
async def filled(disk: Path) -> AsyncIterator[None]:
    """Leave no room on a disk."""
    with full(disk):
        yield


async def test_disk_is_full(on_disk: Stage) -> None:
    """Predictions go on; writes are refused with a reason, and what was acknowledged is there, also after a restart."""
    await on_disk.trial(lambda: filled(on_disk.fleet.directory), Demands(failures=0))
    on_disk.fleet.store.kill()
    on_disk.fleet.registry.kill()
    await on_disk.fleet.whole()
    assert not await lost_features(on_disk.ground)
