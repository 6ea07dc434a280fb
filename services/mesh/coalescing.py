"""Natural batching: what arrives while a batch is under way leaves together as the next.

Nobody waits when none is under way, and no timer delays a batch for company. One batch under way measured best; one that
has been out for longer than nearly all before it no longer holds the others back.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from services.mesh.errors import Overloaded

RETRY_AFTER_S = 0.05


class Waiting(Protocol):
    """What is put into a batch. `done` once nobody waits for it any more: answered, too late, or cancelled."""

    rows: int

    def done(self) -> bool:
        """Return whether nobody waits for it."""


W = TypeVar("W", bound=Waiting)


class Coalescer(Generic[W]):
    """Batches of one kind. `run` answers every member of a batch, whatever happens; it must not raise.

    `max_rows` bounds a batch and `max_queued_rows` what waits; both count rows. A batch whose members are all done is
    cancelled (see `left`).
    """

    def __init__(
        self, run: Callable[[list[W]], Awaitable[None]], *, max_rows: int, max_queued_rows: int, max_under_way: int = 4
    ) -> None:
        self._run = run
        self._max_rows = max_rows
        self._max_queued_rows = max_queued_rows
        self._max_under_way = max_under_way
        self._queue: deque[W] = deque()
        self._under_way: dict[asyncio.Task[None], list[W]] = {}
        self._durations = Quantile(0.99, start=0.05)
        self.queued_rows = 0

    def submit(self, member: W) -> None:
        """Put `member` into the next batch; Overloaded when too many rows wait."""
        if self.queued_rows + member.rows > self._max_queued_rows:
            raise Overloaded(f"{self.queued_rows} rows are waiting; come back later", retry_after_s=RETRY_AFTER_S)
        self._queue.append(member)
        self.queued_rows += member.rows
        if not self._under_way:
            self._depart()

    def left(self, member: W) -> None:
        """Note that nobody waits for `member` any more: cancel its batch if that holds for all of it."""
        for task, batch in self._under_way.items():
            if member in batch:
                if all(other.done() for other in batch):
                    task.cancel()
                return

    def _depart(self) -> None:
        task = asyncio.create_task(self._travel())
        self._under_way[task] = []
        task.add_done_callback(self._arrived)

    async def _travel(self) -> None:
        # Whoever arrives in the same turn of the loop comes along.
        await asyncio.sleep(0)
        batch = self._take()
        if not batch:
            return
        task = asyncio.current_task()
        assert task is not None
        self._under_way[task] = batch
        start = time.monotonic()
        late = asyncio.get_running_loop().call_later(self._durations.value, self._open_another)
        try:
            await self._run(batch)
        finally:
            late.cancel()
            self._durations.observe(time.monotonic() - start)

    def _take(self) -> list[W]:
        batch: list[W] = []
        rows = 0
        while self._queue and (not batch or rows + self._queue[0].rows <= self._max_rows):
            member = self._queue.popleft()
            self.queued_rows -= member.rows
            if not member.done():
                batch.append(member)
                rows += member.rows
        return batch

    def _arrived(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        if self._queue and not self._under_way:
            self._depart()

    def _open_another(self) -> None:
        if self._queue and len(self._under_way) < self._max_under_way:
            self._depart()


class Quantile:
    """A running estimate of a quantile: one number, a few operations an observation.

    Each observation moves it by a step in proportion to itself, up more seldom and further than down, so that it rests
    where the fraction `q` lies below (stochastic approximation, Robbins and Monro 1951).
    """

    STEP = 0.05

    def __init__(self, q: float, *, start: float) -> None:
        self._q = q
        self.value = start

    def observe(self, x: float) -> None:
        """Take one observation into account; of the same unit as the value, greater than 0."""
        self.value *= 1 + self.STEP * (self._q if x > self.value else self._q - 1)
