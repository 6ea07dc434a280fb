"""Natural batching: what arrives while a batch is under way leaves together as the next.

Nobody waits when none is under way and the event loop is at rest, but a moment for a crowd that has just been answered
(see `boarding`). One batch under way measured best; one that has been out for longer than nearly all before it no longer
holds the others back.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from services.mesh.boarding import Door
from services.mesh.errors import Overloaded

logger = logging.getLogger(__name__)
RETRY_AFTER_S = 0.05
# The timers of an event loop are no finer than a millisecond; uvloop fires those below at once.
LEAST_PATIENCE_S = 0.002
# What a batch is taken to last before any has come back.
START_S = 0.05
# Half of what is known beyond that is forgotten in so much time without a batch.
HALF_LIFE_S = 10.0


class Waiting(Protocol):
    """What is put into a batch. `done` once nobody waits for it any more: answered, too late, or cancelled."""

    @property
    def rows(self) -> int:
        """How many rows it is."""

    def done(self) -> bool:
        """Return whether nobody waits for it."""


W = TypeVar("W", bound=Waiting)


class Coalescer(Generic[W]):
    """Batches of one kind. `run` answers every member of a batch, whatever happens; it must not raise.

    `max_rows` bounds a batch and `max_queued_rows` what waits; both count rows. A batch whose members are all done is
    cancelled (see `left`). With `due`, which says when a member must have its answer (seconds of `time.monotonic()`), a
    batch waits for callers who have just been answered, as long as nobody is late for that. What comes out of the batches of another coalescer is coalesced `behind` it: a batch waits for
    the one that is under way there, of which some may come along.
    """

    def __init__(
        self,
        run: Callable[[list[W]], Awaitable[None]],
        *,
        max_rows: int,
        max_queued_rows: int,
        max_under_way: int = 4,
        due: Callable[[W], float] | None = None,
        behind: Coalescer[Any] | None = None,
    ) -> None:
        self._run = run
        self._max_rows = max_rows
        self._door = Door()
        self._due = due
        self._soonest_due = math.inf
        self._max_queued_rows = max_queued_rows
        self._max_under_way = max_under_way
        self._queue: deque[W] = deque()
        self._under_way: dict[asyncio.Task[None], list[W]] = {}
        # Those of the batches under way that are not late yet; the others hold nobody back.
        self._punctual: set[asyncio.Task[None]] = set()
        self._durations = Quantile(0.99, start=START_S)
        self._observed = time.monotonic()
        self._behind = behind
        self._watchers: list[asyncio.Future[None]] = []
        self.queued_rows = 0

    @property
    def idle(self) -> bool:
        """Whether nothing waits, and no batch is under way."""
        return not self._under_way and not self._queue

    @property
    def p99_s(self) -> float:
        """How long nearly all batches take, in seconds, as far as it is known.

        What was slow long ago may be quick by now, which nobody learns who does not try it for being slow.
        """
        known = self._durations.value
        if known <= START_S:
            return known
        return max(START_S, known * math.exp2((self._observed - time.monotonic()) / HALF_LIFE_S))

    @property
    def waiting(self) -> int:
        """How many members wait for a batch to leave."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether as many rows wait as may travel together."""
        return self.queued_rows >= self._max_rows

    @property
    def leave_by(self) -> float:
        """When the next batch should leave, if nearly all take no longer than those before; in seconds of `time.monotonic()`."""
        return self._soonest_due - self.p99_s

    def submit(self, member: W) -> None:
        """Put `member` into the next batch; Overloaded when too many rows wait."""
        if self.queued_rows + member.rows > self._max_queued_rows:
            raise Overloaded(f"{self.queued_rows} rows are waiting; come back later", retry_after_s=RETRY_AFTER_S)
        self._queue.append(member)
        self.queued_rows += member.rows
        if self._due is not None:
            self._soonest_due = min(self._soonest_due, self._due(member))
        self._door.ring()
        self._depart_if_due()

    def left(self, member: W) -> None:
        """Note that nobody waits for `member` any more: it leaves the queue, or its batch ends if that holds for all of it."""
        for task, batch in self._under_way.items():
            # One that has ended has nothing to be cancelled; where it has failed, all its members come here.
            if not task.done() and any(other is member for other in batch):
                if all(other.done() for other in batch) and not task.cancelling():
                    task.cancel()
                return
        for index, other in enumerate(self._queue):
            if other is member:
                del self._queue[index]
                self.queued_rows -= member.rows
                return

    def _depart_if_due(self) -> None:
        if not self._queue or self._punctual or len(self._under_way) >= self._max_under_way:
            return
        task = asyncio.create_task(self._travel())
        self._under_way[task] = []
        self._punctual.add(task)
        task.add_done_callback(self._arrived)

    async def passed(self) -> None:
        """Return when a batch that is under way now is back, or late; at once when none is."""
        if self._punctual:
            watcher = asyncio.get_running_loop().create_future()
            self._watchers.append(watcher)
            await watcher

    async def _travel(self) -> None:
        if self._behind is not None:
            # The batch that the first members come from is back after a turn; the next may bring some more.
            await asyncio.sleep(0)
            await self._behind.passed()
        await self._door.board(self)
        batch = self._take()
        if not batch:
            return
        task = asyncio.current_task()
        assert task is not None
        self._under_way[task] = batch
        start = time.monotonic()
        patience = max(self._durations.value, LEAST_PATIENCE_S)
        late = asyncio.get_running_loop().call_later(patience, self._overdue, task)
        try:
            await self._run(batch)
        finally:
            late.cancel()
            self._observed = time.monotonic()
            self._durations.observe(self._observed - start)
            if self._due is not None:
                self._door.returned(len(batch), self.waiting, self._observed - start)

    def _take(self) -> list[W]:
        batch: list[W] = []
        rows = 0
        while self._queue and (not batch or rows + self._queue[0].rows <= self._max_rows):
            member = self._queue.popleft()
            self.queued_rows -= member.rows
            if not member.done():
                batch.append(member)
                rows += member.rows
        if self._due is not None:
            self._soonest_due = min(map(self._due, self._queue), default=math.inf)
        return batch

    def _overdue(self, task: asyncio.Task[None]) -> None:
        self._let_pass(task)
        self._depart_if_due()

    def _let_pass(self, task: asyncio.Task[None]) -> None:
        """Have a batch hold nobody back any more."""
        self._punctual.discard(task)
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)
        self._watchers.clear()

    def _arrived(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._let_pass(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a batch failed without answering its members", exc_info=error)
        self._depart_if_due()


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
