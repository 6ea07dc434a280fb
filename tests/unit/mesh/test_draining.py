"""A server that is to stop waits until its callers have left it, but not for those who never do."""

from __future__ import annotations

import time
from collections.abc import Callable

from services.mesh.draining import PATIENCE_S, QUIET_S, until_left
from tests.support.virtual_time import run_virtually


def waited(at_least_s: float, calls: Callable[[float], int]) -> float:
    """Return for how long it waits, where `calls` have come by a time, in seconds since the beginning."""

    async def wait() -> float:
        start = time.monotonic()
        await until_left(lambda: calls(time.monotonic() - start), at_least_s)
        return time.monotonic() - start

    return run_virtually(wait())


def test_without_a_delay() -> None:
    """Nobody is waited for."""
    assert waited(0, lambda now: int(now * 1000)) < 0.001


def test_callers_who_leave() -> None:
    """It goes on waiting until none has called for a moment."""
    assert 1 + QUIET_S <= waited(1, lambda _: 7) < 1 + 2 * QUIET_S
    assert 3 <= waited(1, lambda now: int(min(now, 3) * 100)) < 3 + 2.5 * QUIET_S


def test_callers_who_stay() -> None:
    """They are not waited for much longer."""
    assert 1 + PATIENCE_S <= waited(1, lambda now: int(now * 100)) < 1 + PATIENCE_S + 2 * QUIET_S
