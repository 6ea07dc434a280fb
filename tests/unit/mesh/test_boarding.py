"""A batch waits a moment for a crowd that has just been answered, and for nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from services.mesh import boarding
from services.mesh.boarding import LONGEST_REST_S, RETURN_S, Door
from tests.support.virtual_time import run_virtually


class Crowd:
    """Callers on their way to a door, and when it closed."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.waiting = 1

    async def come(self, every_s: float, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(every_s)
            self.waiting += 1
            self._door.ring()

    async def boarded(self, coming: Coroutine[Any, Any, None] | None = None) -> tuple[int, float]:
        """Return how many came along, and how long they waited in seconds."""
        task = asyncio.create_task(coming) if coming is not None else None
        start = time.monotonic()
        await self._door.board(lambda: self.waiting)
        took = time.monotonic() - start
        came = self.waiting
        if task is not None:
            await task
        return came, took


def test_nobody_waits_for_nobody() -> None:
    """The first request of all leaves at once."""

    async def main() -> tuple[int, float]:
        return await Crowd(Door(max_rows=64)).boarded()

    came, took = run_virtually(main())
    assert (1, True) == (came, took < boarding.IDLE_TURN_S)


def test_a_single_caller_does_not_wait_for_himself() -> None:
    """Who has just been answered alone, and asks again, leaves at once."""

    async def main() -> float:
        door = Door(max_rows=64)
        door.returned(1, 0)
        return (await Crowd(door).boarded())[1]

    assert run_virtually(main()) < boarding.IDLE_TURN_S


def test_a_crowd_that_was_answered_leaves_together_again() -> None:
    """All of it comes along, those who had waited too, and nobody waits once it is complete."""

    async def main() -> tuple[int, float]:
        door = Door(max_rows=64)
        door.returned(8, 1)
        crowd = Crowd(door)
        return await crowd.boarded(crowd.come(1e-4, 8))

    came, took = run_virtually(main())
    assert (9, True) == (came, took < 1e-3)


@pytest.mark.parametrize("every_s", [4e-4, 1.0])
def test_a_crowd_that_stays_away_is_not_waited_for(every_s: float) -> None:
    """The wait is of one millisecond, however many come meanwhile."""

    async def main() -> float:
        door = Door(max_rows=64)
        door.returned(30, 0)
        crowd = Crowd(door)
        return (await crowd.boarded(crowd.come(every_s, 5)))[1]

    assert LONGEST_REST_S * 0.99 < run_virtually(main()) < LONGEST_REST_S * 1.1


def test_a_crowd_of_long_ago_is_not_expected() -> None:
    """Who asks later has other company."""

    async def main() -> float:
        door = Door(max_rows=64)
        door.returned(30, 0)
        await asyncio.sleep(2 * RETURN_S)
        return (await Crowd(door).boarded())[1]

    assert run_virtually(main()) < boarding.IDLE_TURN_S


def test_a_full_batch_leaves() -> None:
    """No more are waited for than may travel together."""

    async def main() -> tuple[int, float]:
        door = Door(max_rows=4)
        door.returned(4, 4)
        crowd = Crowd(door)
        return await crowd.boarded(crowd.come(1e-5, 3))

    came, took = run_virtually(main())
    assert (4, True) == (came, took < 1e-3)
