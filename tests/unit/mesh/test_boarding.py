"""A batch waits a moment for a crowd that has just been answered, and for nobody else."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from services.mesh import boarding
from services.mesh.boarding import LEAST_REST_S, LONGEST_REST_S, RETURN_S, TRY_EVERY, VAIN_RESTS, Door
from tests.support.virtual_time import run_virtually

TOOK_S = 4e-3
"""How long a batch is out; half of that is the longest rest after it."""


class Crowd:
    """Callers on their way to a door, and when it closed."""

    def __init__(self, door: Door, *, most: int = 64, leave_by: float = math.inf) -> None:
        self._door, self._most = door, most
        self.waiting = 1
        self.leave_by = leave_by

    @property
    def full(self) -> bool:
        return self.waiting >= self._most

    async def come(self, every_s: float, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(every_s)
            self.waiting += 1
            self._door.ring()

    async def boarded(self, coming: Coroutine[Any, Any, None] | None = None) -> tuple[int, float]:
        """Return how many came along, and how long they waited in seconds."""
        task = asyncio.create_task(coming) if coming is not None else None
        start = time.monotonic()
        await self._door.board(self)
        took = time.monotonic() - start
        came = self.waiting
        if task is not None:
            await task
        return came, took


def test_nobody_waits_for_nobody() -> None:
    """The first request of all leaves at once."""

    async def main() -> tuple[int, float]:
        return await Crowd(Door()).boarded()

    came, took = run_virtually(main())
    assert (1, True) == (came, took < boarding.IDLE_TURN_S)


def test_a_single_caller_does_not_wait_for_himself() -> None:
    """Who has just been answered alone, and asks again, leaves at once."""

    async def main() -> float:
        door = Door()
        door.returned(1, 0, TOOK_S)
        return (await Crowd(door).boarded())[1]

    assert run_virtually(main()) < boarding.IDLE_TURN_S


def test_a_crowd_that_was_answered_leaves_together_again() -> None:
    """All of it comes along, those who had waited too, and nobody waits once it is complete."""

    async def main() -> tuple[int, float]:
        door = Door()
        door.returned(8, 1, TOOK_S)
        crowd = Crowd(door)
        return await crowd.boarded(crowd.come(1e-4, 8))

    came, took = run_virtually(main())
    assert (9, True) == (came, took < 1e-3)


@pytest.mark.parametrize("every_s", [9e-4, 1.0])
@pytest.mark.parametrize(("took_s", "rest_s"), [(0.0, LEAST_REST_S), (TOOK_S, TOOK_S / 2), (1.0, LONGEST_REST_S)])
def test_a_crowd_that_stays_away_is_not_waited_for(every_s: float, took_s: float, rest_s: float) -> None:
    """The wait is of half the time that the last batch took, within bounds, however many come meanwhile."""

    async def main() -> float:
        door = Door()
        door.returned(30, 0, took_s)
        crowd = Crowd(door)
        return (await crowd.boarded(crowd.come(every_s, 5)))[1]

    # A timer is due by the whole millisecond.
    assert rest_s - 1e-3 < run_virtually(main()) < rest_s + 1e-3


def test_a_deadline_is_kept() -> None:
    """Nobody is waited for longer than the first deadline of those who wait allows."""

    async def main(leaves_in_s: float) -> float:
        door = Door()
        door.returned(8, 0, TOOK_S)
        return (await Crowd(door, leave_by=time.monotonic() + leaves_in_s).boarded())[1]

    assert run_virtually(main(-1e-3)) < boarding.IDLE_TURN_S
    assert run_virtually(main(1e-3)) < 1.1e-3


def test_boarding_ends() -> None:
    """A rest begins no time of its own: where the loop was busy before, it is shorter."""

    async def main() -> float:
        door = Door()
        door.returned(8, 0, 1.0)
        crowd = Crowd(door)
        return (await crowd.boarded(crowd.come(1e-3, 6)))[1]

    # Whoever comes makes a turn of the loop that is no rest; what is left for rests is never beyond the end.
    assert run_virtually(main()) <= boarding.LONGEST_BOARDING_S + 1e-3


def test_the_last_of_a_crowd_are_not_waited_for_long() -> None:
    """Those who came beside it by chance are expected, too, and should not keep all of it waiting each time."""

    async def main() -> float:
        door = Door()
        door.returned(16, 0, TOOK_S)
        crowd = Crowd(door)
        return (await crowd.boarded(crowd.come(1e-5, 14)))[1]

    assert run_virtually(main()) < 1.5 * LEAST_REST_S


async def rest(door: Door, comes_after_s: float | None = None, most: int = 64) -> float:
    """Return how long is waited for a crowd of eight, which comes at once after a time, or not at all."""
    door.returned(8, 0, TOOK_S)
    crowd = Crowd(door, most=most)
    if comes_after_s is None:
        return (await crowd.boarded())[1]

    async def come() -> None:
        await asyncio.sleep(comes_after_s)
        await crowd.come(0, 7)

    return (await crowd.boarded(come()))[1]


def test_callers_who_come_by_chance_are_soon_waited_for_less() -> None:
    """After some rests in vain there is but a short one, and a long one now and then, to see."""

    async def main() -> list[float]:
        door = Door()
        return [await rest(door) for _ in range(2 * TRY_EVERY + 1)]

    long = [number for number, took in enumerate(run_virtually(main())) if took > (LEAST_REST_S + TOOK_S / 2) / 2]
    assert [*range(VAIN_RESTS), TRY_EVERY, 2 * TRY_EVERY] == long


@pytest.mark.parametrize("most", [64, 8])
def test_a_crowd_that_comes_is_waited_for_again(most: int) -> None:
    """A rest that was not in vain makes up for those that were, also where the crowd fills the batch."""

    async def main() -> float:
        door = Door()
        for _ in range(VAIN_RESTS):
            await rest(door)
        await rest(door, LEAST_REST_S / 2, most)
        return await rest(door)

    assert run_virtually(main()) > (LEAST_REST_S + TOOK_S / 2) / 2


def test_a_crowd_of_long_ago_is_not_expected() -> None:
    """Who asks later has other company."""

    async def main() -> float:
        door = Door()
        door.returned(30, 0, TOOK_S)
        await asyncio.sleep(2 * RETURN_S)
        return (await Crowd(door).boarded())[1]

    assert run_virtually(main()) < boarding.IDLE_TURN_S


def test_a_full_batch_leaves() -> None:
    """No more are waited for than may travel together."""

    async def main() -> tuple[int, float]:
        door = Door()
        door.returned(4, 4, TOOK_S)
        crowd = Crowd(door, most=4)
        return await crowd.boarded(crowd.come(1e-5, 3))

    came, took = run_virtually(main())
    assert (4, True) == (came, took < 1e-3)
