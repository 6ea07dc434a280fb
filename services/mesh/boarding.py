"""When a batch leaves: once nobody is at the door any more, nor about to come back to it."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

# A turn of the event loop that takes no longer has done nothing but look for work.
IDLE_TURN_S = 30e-6
# What a batch waits at most, for the loop to come to rest and at rest.
LONGEST_BOARDING_S = 8e-3
# What it waits at rest, for callers who have just been answered: half of the time that the batch before was out, but no less
# than the timers of an event loop can tell, and no more than this.
REST_SHARE = 0.5
LEAST_REST_S, LONGEST_REST_S = 1e-3, 4e-3
# Callers who come by chance, and not because they were answered, seldom come in time: after so many long rests in vain only
# the least is taken, but for a long one every so often, to see. The last few of a crowd are not worth a long one either.
VAIN_RESTS, TRY_EVERY = 4, 16
NEARLY_ALL = 7 / 8
# For so long after an answer its caller may be about to ask again.
RETURN_S = 10e-3
# Fewer callers are not worth waiting for: a single one, above all, never waits for himself.
COMPANY = 4


class Boarding(Protocol):
    """Who is at the door."""

    @property
    def waiting(self) -> int:
        """How many callers."""

    @property
    def full(self) -> bool:
        """Whether no more may travel together."""

    @property
    def leave_by(self) -> float:
        """When the batch should be gone for its first deadline's sake, in seconds of `time.monotonic()`."""


class Door:
    """Boards the batches of a coalescer, one at a time.

    Where callers ask again when they are answered, those of a batch would else find the next one gone, and travel as a
    second crowd: half as many a batch, and nearly twice the cost of each.
    """

    def __init__(self) -> None:
        self._expected = 0
        self._expected_until = 0.0
        self._longest_s = LEAST_REST_S
        self._in_vain = 0
        self._bells: set[asyncio.Future[bool]] = set()

    def returned(self, callers: int, waiting: int, took_s: float) -> None:
        """Note that a batch is back, how many wait, and how long it was out: its callers may be about to come again."""
        self._expected = callers + waiting if callers >= COMPANY else 0
        self._expected_until = time.monotonic() + RETURN_S
        self._longest_s = max(LEAST_REST_S, min(took_s * REST_SHARE, LONGEST_REST_S))

    def ring(self) -> None:
        """Note that somebody has come."""
        for bell in self._bells:
            _answer(bell, True)

    async def board(self, batch: Boarding) -> None:
        """Return when the batch should leave: at once if the loop has nothing else to do, and nobody is expected."""
        start = turn = time.monotonic()
        expected = self._expected if start < self._expected_until else 0
        rest_s, rested = self._patience_s(), False
        while not batch.full:
            await asyncio.sleep(0)
            now = time.monotonic()
            if now - start > LONGEST_BOARDING_S:
                break
            if now - turn < IDLE_TURN_S:
                left_s = min(start + LONGEST_BOARDING_S, batch.leave_by) - now
                if batch.waiting >= expected or left_s <= 0:
                    break
                rested = True
                if batch.waiting >= expected * NEARLY_ALL:
                    rest_s = min(rest_s, LEAST_REST_S)
                if not await self._knock(min(rest_s, left_s)):
                    break
                before, now = now, time.monotonic()
                rest_s -= now - before
            turn = now
        if rested:
            came = batch.full or batch.waiting >= expected * NEARLY_ALL
            self._in_vain = 0 if came else self._in_vain + 1

    def _patience_s(self) -> float:
        return self._longest_s if self._in_vain < VAIN_RESTS or self._in_vain % TRY_EVERY == 0 else LEAST_REST_S

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
