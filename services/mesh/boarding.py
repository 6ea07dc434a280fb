"""When a batch leaves: once nobody is at the door any more, nor about to come back to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# A turn of the event loop that takes no longer has done nothing but look for work.
IDLE_TURN_S = 30e-6
# What a batch waits at most for the loop to come to rest.
LONGEST_BOARDING_S = 8e-3
# What it waits at most at rest, for callers who have just been answered: the timers of an event loop are no finer.
LONGEST_REST_S = 1e-3
# For so long after an answer its caller may be about to ask again.
RETURN_S = 10e-3
# Fewer rows are not worth waiting for: a single caller, above all, never waits for himself.
COMPANY_ROWS = 4


class Door:
    """Boards the batches of a coalescer, one at a time. Counts are of rows.

    Where callers ask again when they are answered, those of a batch would else find the next one gone, and travel as a
    second crowd: half as many rows a batch, and nearly twice the cost of each.
    """

    def __init__(self, *, max_rows: int) -> None:
        self._max_rows = max_rows
        self._expected = 0
        self._expected_until = 0.0
        self._bells: set[asyncio.Future[bool]] = set()

    def returned(self, rows: int, waiting: int) -> None:
        """Note that a batch is back, and how many wait: its callers may be about to come again."""
        self._expected = min(rows + waiting, self._max_rows) if rows >= COMPANY_ROWS else 0
        self._expected_until = time.monotonic() + RETURN_S

    def ring(self) -> None:
        """Note that somebody has come."""
        for bell in self._bells:
            _answer(bell, True)

    async def board(self, waiting: Callable[[], int]) -> None:
        """Return when the batch should leave: at once if the loop has nothing else to do, and nobody is expected."""
        start = turn = time.monotonic()
        expected = self._expected if start < self._expected_until else 0
        rest_until = 0.0
        while waiting() < self._max_rows:
            await asyncio.sleep(0)
            now = time.monotonic()
            if now - start > LONGEST_BOARDING_S:
                return
            if now - turn < IDLE_TURN_S:
                rest_until = rest_until or now + LONGEST_REST_S
                if waiting() >= expected or not await self._knock(rest_until - now):
                    return
                now = time.monotonic()
            turn = now

    async def _knock(self, within_s: float) -> bool:
        """Return whether somebody comes in time."""
        if within_s <= 0:
            return False
        loop = asyncio.get_running_loop()
        bell: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(within_s, _answer, bell, False)
        self._bells.add(bell)
        try:
            return await bell
        finally:
            self._bells.discard(bell)
            timer.cancel()


def _answer(bell: asyncio.Future[bool], somebody: bool) -> None:
    if not bell.done():
        bell.set_result(somebody)
