from __future__ import annotations

import asyncio
from dataclasses import replace

from services.model.statuses import RuntimeStatus, State, StatusBoard

LOADING = RuntimeStatus("m", "1.0.0", "d", "onnx", State.LOADING, 0)
READY = replace(LOADING, state=State.READY)


async def test_a_watcher_gets_the_present_and_then_each_change() -> None:
    """The first answer comes at once, even when there is nothing."""
    board = StatusBoard()
    changes = board.changes()
    assert () == await anext(changes)
    following = asyncio.ensure_future(anext(changes))
    board.show([LOADING])
    assert (LOADING,) == await following


async def test_a_slow_watcher_gets_the_newest_only() -> None:
    """What lies between is skipped, so a watcher costs nothing while it does not read."""
    board = StatusBoard()
    changes = board.changes()
    await anext(changes)
    board.show([LOADING])
    board.show([READY])
    assert (READY,) == await anext(changes)


async def test_the_same_statuses_are_no_change() -> None:
    """Nobody is woken for nothing."""
    board = StatusBoard()
    board.show([READY])
    waiting = asyncio.ensure_future(board.newer_than((READY,)))
    board.show([READY])
    board.show([replace(READY)])
    done, _ = await asyncio.wait((waiting,), timeout=0.01)
    assert not done
    waiting.cancel()
