"""What a watcher is sent."""

from __future__ import annotations

import asyncio

from services.registry.catalog import Catalog
from services.registry.ledger import Revision
from services.registry.newest import Newest
from services.registry.watching import watch

LIMIT_S = 10


def revision(number: int) -> Revision:
    """A revision of the log `log`."""
    return Revision("log", number, Catalog())


async def test_a_slow_watcher_skips_to_the_newest() -> None:
    """What comes while a watcher is busy does not queue up for it."""
    newest = Newest(revision(0))
    watching = watch(newest, "", 0, LIMIT_S)
    await anext(watching)
    for number in range(1, 50):
        newest.set(revision(number))
    assert await anext(watching) == revision(49)


async def test_a_change_while_a_watcher_is_busy_is_not_missed() -> None:
    """It is sent at once, not with the next sign of life."""
    newest = Newest(revision(0))
    watching = watch(newest, "log", 0, 3600)
    assert await anext(watching) is None
    newest.set(revision(1))
    async with asyncio.timeout(LIMIT_S):
        assert await anext(watching) == revision(1)


async def test_a_close_while_a_watcher_is_busy_ends_it() -> None:
    """The stop of a registry waits for nobody."""
    newest = Newest(revision(0))
    watching = watch(newest, "", 0, 3600)
    await anext(watching)
    newest.close()
    async with asyncio.timeout(LIMIT_S):
        assert await anext(watching, "ended") == "ended"


async def test_a_close_wakes_a_watcher_that_waits() -> None:
    """So does a close in the midst of waiting."""
    newest = Newest(revision(0))
    watching = watch(newest, "", 0, 3600)
    await anext(watching)
    waiting = asyncio.ensure_future(anext(watching, "ended"))
    await asyncio.sleep(0)
    newest.close()
    async with asyncio.timeout(LIMIT_S):
        assert await waiting == "ended"


async def test_many_watchers_are_woken_by_one_change() -> None:
    """Each gets the change."""
    newest = Newest(revision(0))
    watches = [watch(newest, "log", 0, 3600) for _ in range(10)]
    for each in watches:
        await anext(each)
    waiting = [asyncio.ensure_future(anext(each)) for each in watches]
    await asyncio.sleep(0)
    newest.set(revision(1))
    async with asyncio.timeout(LIMIT_S):
        assert await asyncio.gather(*waiting) == [revision(1)] * 10
