"""One queue for a version: takes calls in, sends batches out, and forgets those whose caller has gone."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from services.mesh import context as contexts
from services.mesh.errors import DeadlineExceeded, Internal, MeshError, Overloaded
from services.model.batch import Batch
from services.model.calls import Answer, InferCall, Source
from services.model.computing import NOT_READY, SATURATED, compute
from services.model.counters import CallCounters
from services.model.errors import NonFiniteValue, VersionNotLoaded
from services.model.queue import DeadlineQueue, Portion
from services.model.schedule import Limits, Refuse, Schedule, Send, Wait
from services.model.spans import batch_span
from services.model.station import Place, Station
from services.model.tickets import Ticket
from services.model.versions import Signature

logger = logging.getLogger(__name__)


class Batcher:
    """The calls of a version, and its runtimes, the first choice first.

    The most urgent rows leave first, at once when a runtime has room, and as many together as end in time by what its
    batches have cost so far. Rows that cannot make it are refused rather than computed in vain.
    """

    def __init__(self, signature: Signature, limits: Limits) -> None:
        self.counters = CallCounters()
        self.stations: Sequence[Station] = ()
        self._first_choice = ""
        self._signature = signature
        self._limits = limits
        self._queue = DeadlineQueue()
        self._schedule = Schedule(self._queue, limits)
        self._under_way: dict[asyncio.Task[None], Batch] = {}
        self._wake: asyncio.TimerHandle | None = None

    @property
    def queued_rows(self) -> int:
        """Rows that no batch has taken yet."""
        return self._queue.rows

    def use(self, stations: Sequence[Station], first_choice: str) -> None:
        """Compute there from now on; `first_choice` names the runtime that should, if nothing stood against it."""
        self.stations, self._first_choice = stations, first_choice
        self._pump()

    async def infer(self, call: InferCall) -> Answer:
        """Answer a call.

        One judged by row fails as a whole only when nothing of it could be computed; any other as soon as a part does.
        DeadlineExceeded, Overloaded, VersionNotLoaded, NonFiniteValue, RuntimeFailed, InvalidOutput, or what a
        runtime raises.
        """
        with self._admitted(call.rows):
            if not call.by_row:
                self._refuse_non_finite(call)
            ticket = Ticket(call, self._signature, contexts.current())
            try:
                await self._travel(ticket)
                return await ticket.answer
            finally:
                # Rows of it wait still when it has failed by others of its rows.
                if ticket.waiting or not ticket.answer.done() or ticket.answer.cancelled():
                    self._left(ticket)

    async def stop(self) -> None:
        """Cancel batches that failed calls have left behind, and return when they have ended. No call may be under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _travel(self, ticket: Ticket) -> None:
        """Compute the call at once if nothing stands against it, without a task of its own; else let it wait."""
        now = time.monotonic()
        self._schedule.budgets.saw(ticket.call.deadline - now, now)
        station = self._schedule.at_once(ticket.call, self.stations, now)
        if station is None:
            self._refuse_hopeless(ticket, now)
            if ticket.waiting:
                self._queue.push(ticket)
                self._pump()
            return
        batch = Batch([Portion(ticket, ticket.take(ticket.call.rows, math.inf))])
        try:
            await self._compute(batch, station, station.enter(batch.rows))
        finally:
            self._pump()

    def _pump(self) -> None:
        """Do what can be done now for the rows that wait."""
        while self._queue:
            now = time.monotonic()
            late = self._queue.take(self._queue.rows, now)
            if late:
                self._expire(late)
                continue
            match self._schedule.next(self.stations, now):
                case Send(station, most, until):
                    self._send(Batch(self._queue.take(most, until)), station)
                case Wait(seconds):
                    self._wake_in(seconds)
                    return
                case Refuse(until):
                    self._refuse(self._queue.take(self._queue.rows, until), now)
                case _:
                    everything = Batch(self._queue.take(self._queue.rows))
                    everything.fail(VersionNotLoaded("no runtime of this version answers here"))

    def _send(self, batch: Batch, station: Station) -> None:
        place = station.enter(batch.rows)
        task = asyncio.create_task(self._run(batch, station, place))
        self._under_way[task] = batch

        def ended(task: asyncio.Task[None]) -> None:
            # Once more, as a task that was cancelled before its first step has not.
            station.leave(place)
            del self._under_way[task]
            self._pump()

        task.add_done_callback(ended)

    async def _run(self, batch: Batch, station: Station, place: Place) -> None:
        # The event loop may have been busy since the batch was put together.
        batch, late = batch.due_after(time.monotonic())
        if late:
            self._expire(late)
        place.rows = batch.rows
        if batch.rows:
            # A task begins in the context of whoever made it, which is another call's.
            contexts.use(batch.portions[0].ticket.context)
            await self._compute(batch, station, place)

    async def _compute(self, batch: Batch, station: Station, place: Place) -> None:
        stations = list(self.stations)
        behind = stations[stations.index(station) + 1 :] if station in stations else []
        ladder = [station, *(other for other in behind if other.well)]
        station.counters.queued.add(int((time.monotonic() - batch.portions[0].ticket.arrived) * 1e9))
        try:
            with batch_span(batch, station.runtime):
                await compute(batch, place, ladder, self._source(station), self._signature, self.counters)
        except Exception:
            logger.exception("batch failed", extra={"version": str(station.placement), "rows": batch.rows})
            batch.abandon(Internal("the model service failed on a batch"))

    def _source(self, station: Station) -> Source:
        if station.runtime == self._first_choice:
            return station.source
        first = self.stations[0]
        if first.runtime != self._first_choice:
            return Source(station.runtime, NOT_READY, self._first_choice)
        return Source(station.runtime, SATURATED if first.well else first.trouble, self._first_choice)

    def _left(self, ticket: Ticket) -> None:
        """Take a call whose caller has gone out of the queue, and cancel the batches that were only for him."""
        ticket.answer.cancel()
        self._queue.left(ticket)
        for task, batch in self._under_way.items():
            if not batch.living().rows:
                task.cancel()

    def _expire(self, late: Sequence[Portion]) -> None:
        self.counters.refused("DEADLINE_EXCEEDED", sum(len(portion.rows) for portion in late))
        Batch(late).fail(DeadlineExceeded("the time was over before the rows were computed"))

    def _refuse_hopeless(self, ticket: Ticket, now: float) -> None:
        """Turn those rows of a new call away that would wait in vain; each has its own time."""
        while ticket.waiting and ticket.deadline > now and self._schedule.hopeless(ticket, self.stations, now):
            rows = ticket.take(ticket.waiting, ticket.deadline)
            self._refuse([Portion(ticket, rows)], now)

    def _refuse(self, portions: Sequence[Portion], now: float) -> None:
        """Turn rows away that no runtime computes in time."""
        retry_after_s = self._retry_after_s(now)
        for portion in portions:
            brought_s = Batch([portion]).earliest() - portion.ticket.arrived
            if self._schedule.too_short(len(portion.rows), brought_s, self.stations):
                self.counters.refused("TIME_TOO_SHORT", len(portion.rows))
                error: MeshError = DeadlineExceeded("the time is too short for this version, even without others")
            else:
                self.counters.refused("OVERLOADED", len(portion.rows))
                message = "too much waits for this version: the rows would not be computed before their deadline"
                error = Overloaded(message, retry_after_s=retry_after_s)
            portion.ticket.failed(portion.rows, error)

    def _retry_after_s(self, now: float) -> float:
        """Say when it is worth to come back: when what waits is done; 10 ms to 1 s."""
        return min(1.0, max(0.01, self._schedule.done_in_s(self.stations, now)))

    def _wake_in(self, seconds: float) -> None:
        """Look again after so many seconds, if no batch has ended before."""
        if self._wake is not None:
            self._wake.cancel()
        self._wake = None if seconds == math.inf else asyncio.get_running_loop().call_later(seconds, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self._pump()

    @contextmanager
    def _admitted(self, rows: int) -> Iterator[None]:
        counters = self.counters
        if counters.rows_in_flight and counters.rows_in_flight + rows > self._limits.rows_in_flight:
            counters.refused("QUEUE_FULL", rows)
            counters.answered(0, well=False)
            retry_after_s = self._retry_after_s(time.monotonic())
            raise Overloaded("too many rows wait for this version", retry_after_s=retry_after_s)
        counters.rows_in_flight += rows
        started, well = time.perf_counter_ns(), False
        try:
            yield
            well = True
        finally:
            counters.rows_in_flight -= rows
            counters.answered(time.perf_counter_ns() - started, well=well)

    def _refuse_non_finite(self, call: InferCall) -> None:
        for name in self._signature.finite_inputs:
            if not np.isfinite(call.inputs[name]).all():
                raise NonFiniteValue(f"input {name!r} must be finite", field=f"inputs[{list(call.inputs).index(name)}]")
