"""What batching is usually: first come, first served, in batches of a fixed size that wait a fixed time for company."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence

from services.mesh.errors import MeshError, Overloaded
from services.model.batch import Batch
from services.model.calls import Answer, InferCall, Source
from services.model.counters import CallCounters
from services.model.queue import Portion
from services.model.schedule import Limits
from services.model.station import Station
from services.model.tickets import Ticket
from services.model.versions import Signature
from tests.bench.model.ledger import LEDGER

BATCH_ROWS = 128
WAIT_S = 0.002
# The runtime gets as much time as it wants: nothing here knows what a deadline is.
_TIMEOUT_S = 30.0


class FixedBatcher:
    """Stands in for the Batcher. It is spared what it need not compute: calls that were cancelled leave its queue.

    A batch leaves when it is full or its first call has waited for WAIT_S, as soon as the runtime has room, which is as
    much as the Batcher uses: enough for the runtime never to wait.
    """

    batch_rows = BATCH_ROWS
    wait_s = WAIT_S

    def __init__(self, signature: Signature, limits: Limits) -> None:
        self.counters = CallCounters()
        self.stations: Sequence[Station] = ()
        self._signature = signature
        self._limits = limits
        self.queued_rows = 0
        """Rows that no batch has taken yet."""
        self._queue: deque[Ticket] = deque()
        self._standing: set[asyncio.Task[None]] = set()
        self._wake: asyncio.TimerHandle | None = None

    def use(self, stations: Sequence[Station], first_choice: str) -> None:
        """Compute on the first of the stations from now on."""
        self.stations = stations

    async def infer(self, call: InferCall) -> Answer:
        """Answer a call; Overloaded when too many rows wait, or what the runtime raises."""
        counters = self.counters
        if counters.rows_in_flight + call.rows > self._limits.rows_in_flight:
            counters.refused("QUEUE_FULL", call.rows)
            raise Overloaded("too many rows wait for this version", retry_after_s=0.1)
        counters.rows_in_flight += call.rows
        ticket = Ticket(call, self._signature, None)
        self._queue.append(ticket)
        self.queued_rows += call.rows
        self._pump()
        try:
            return await ticket.answer
        finally:
            counters.rows_in_flight -= call.rows
            if ticket.waiting:
                self._queue.remove(ticket)
                self.queued_rows -= ticket.withdraw()

    async def stop(self) -> None:
        """Leave nothing behind: no call is under way, and every batch was a call's."""

    def _pump(self) -> None:
        model = self.stations[0].model
        now = time.monotonic()
        while self._queue and len(self._standing) < model.parallel + model.ahead:
            waited_s = now - self._queue[0].arrived
            if self.queued_rows < self.batch_rows and waited_s < self.wait_s:
                self._look_again_in(self.wait_s - waited_s)
                return
            task = asyncio.create_task(self._compute(Batch(self._take())))
            self._standing.add(task)
            task.add_done_callback(self._ended)

    def _take(self) -> list[Portion]:
        """Take whole calls, in the order of arrival, as many as fit; one in any case."""
        portions = [self._next()]
        rows = portions[0].ticket.call.rows
        while self._queue and rows + self._queue[0].call.rows <= self.batch_rows:
            rows += self._queue[0].call.rows
            portions.append(self._next())
        return portions

    def _next(self) -> Portion:
        ticket = self._queue.popleft()
        self.queued_rows -= ticket.call.rows
        return Portion(ticket, ticket.take(ticket.call.rows, math.inf))

    async def _compute(self, batch: Batch) -> None:
        station = self.stations[0]
        with LEDGER.noted(batch):
            try:
                outputs = await station.model.infer(batch.inputs(), _TIMEOUT_S)
                station.counters.computed(batch.rows, 0)
                batch.answer(self._signature, outputs, Source(station.runtime))
            except MeshError as error:
                batch.fail(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._standing.discard(task)
        self._pump()

    def _look_again_in(self, seconds: float) -> None:
        if self._wake is None:
            self._wake = asyncio.get_running_loop().call_later(seconds, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self._pump()


class NoBatcher(FixedBatcher):
    """Sends each call on at once, as a batch of its own: whoever is behind may put them together."""

    def _pump(self) -> None:
        while self._queue:
            task = asyncio.create_task(self._compute(Batch([self._next()])))
            self._standing.add(task)
            task.add_done_callback(self._standing.discard)
