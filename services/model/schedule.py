"""Decides which rows leave next, where to, and how many together; acts on nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.model.budgets import ShortestBudget
from services.model.calls import InferCall
from services.model.queue import DeadlineQueue
from services.model.station import Station
from services.model.tickets import Ticket

# A batch with this share of the greatest throughput is worth more than a smaller one when more waits than it holds.
_EFFICIENT = 0.9
# What waits counts this many times for whoever comes: others will come that are more urgent and leave before him. Without
# it those with much time would all wait to their last moment, and be as urgent then as those with little.
_OVERTAKEN = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How many rows a model gets at once, and how many may wait for it."""

    batch_rows: int
    rows_in_flight: int


@dataclass(frozen=True, slots=True)
class Send:
    """Let `most` rows due by `until` go to `station`, the most urgent first."""

    station: Station
    most: int
    until: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Let all rows wait until a batch ends, and for so many seconds at most."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse the rows due by `until`: no runtime computes them in time."""

    until: float


class Unserved:
    """No runtime answers."""


class Schedule:
    """The rules, on one queue."""

    def __init__(self, queue: DeadlineQueue, limits: Limits) -> None:
        self.budgets = ShortestBudget()
        self._queue = queue
        self._limits = limits

    def at_once(self, call: InferCall, stations: Iterable[Station], now: float) -> Station | None:
        """Return the runtime that computes a whole call now, and in time; None if it has to queue."""
        if self._queue or call.rows > self._limits.batch_rows or call.deadline <= now:
            return None
        well = [station for station in stations if station.well]
        if not well or self._room_in_s(well[0], call.rows, now) != 0:
            return None
        first = well[0]
        if now + first.starts_in_s(now) + first.cost.likely_s(call.rows) <= call.deadline:
            return first
        # An idle one is asked even if it seems too slow, unless that is known and another is there: nobody else is kept
        # waiting, and it shows what is true.
        return first if first.idle and (len(well) == 1 or not first.believes(now)) else None

    def hopeless(self, ticket: Ticket, stations: Sequence[Station], now: float) -> bool:
        """Whether not even one row would be computed in time, going by what is more urgent and what batches cost."""
        ahead = _OVERTAKEN * self._queue.ahead_of(ticket.deadline)
        well = [station for station in stations if station.well]
        return bool(well) and all(
            station.believes(now) and ticket.deadline < self._finish(station, now) + ahead * self._row_s(station)
            for station in well
        )

    def too_short(self, rows: int, brought_s: float, stations: Iterable[Station]) -> bool:
        """Whether rows of a call brought less time than they would take alone: to come back would not help them."""
        most = self._limits.batch_rows
        first, rest = min(rows, most), max(0, rows - most)
        return all(
            brought_s < station.cost.likely_s(first) + rest * self._row_s(station)
            for station in stations
            if station.well
        )

    def next(self, stations: Iterable[Station], now: float) -> Send | Wait | Refuse | Unserved:
        """Decide about the most urgent rows of a queue that is not empty."""
        until, soonest, wait = math.inf, math.inf, None
        well = [station for station in stations if station.well]
        for station, other in itertools.zip_longest(well, well[1:]):
            finish = self._finish(station, now)
            if self._queue.deadline < finish:
                # Here they would come too late: the next runtime may take those of which this is true, and no others.
                until = min(until, math.nextafter(finish, 0))
                soonest = min(soonest, finish)
                continue
            room_in_s = self._room_in_s(station, self._queue.rows, now)
            if room_in_s == 0:
                return Send(station, self._rows_for(station, now), until)
            wait = Wait(math.inf if room_in_s is None else room_in_s)
            if other is None:
                break
            spare_s = other.spare_s(self._queue.deadline, 1, now)
            if spare_s > 0:
                return Wait(min(spare_s, wait.seconds))
            # By what is learnt they would make it here, but the next runtime cannot wait any longer for that to come true.
            until = min(until, self._queue.deadline + other.cost.likely_s(1))
        if wait is not None:
            return wait
        return Unserved() if soonest == math.inf else Refuse(math.nextafter(soonest, 0))

    def done_in_s(self, stations: Iterable[Station], now: float) -> float:
        """Say in how many seconds what waits now will be done; infinite when no runtime is well."""
        return min(
            (s.starts_in_s(now) + self._queue.rows * self._row_s(s) for s in stations if s.well), default=math.inf
        )

    def _room_in_s(self, station: Station, rows: int, now: float) -> float | None:
        """Say in how many seconds some rows may leave for a station; None when a batch has to end before.

        Behind others goes only what makes an efficient batch. Fewer rows would spare the runtime a pause, but each batch
        costs this process more than the runtime: when others end, more will have come to share that.
        """
        if station.busy and rows < station.cost.efficient_rows(self._limits.batch_rows, _EFFICIENT):
            return None
        return station.room_in_s(now)

    def _finish(self, station: Station, now: float) -> float:
        """Say when the most urgent rows would be computed there, in monotonic seconds.

        When more waits than an efficient batch holds, in a batch of that size: a smaller one might save rows that are
        later than that, but would cost more others their time.
        """
        if not station.believes(now):
            return now
        efficient = station.cost.efficient_rows(self._limits.batch_rows, _EFFICIENT)
        rows = efficient if self._queue.rows > efficient else 1
        return now + station.starts_in_s(now) + station.cost.likely_s(rows)

    def _rows_for(self, station: Station, now: float) -> int:
        """Say how many rows the next batch may have, so that the earliest deadline in it is met."""
        most, cost = self._limits.batch_rows, station.cost
        if not station.believes(now):
            return most
        # Whoever comes while it is computed must still have the time for a batch of his own.
        polite = max(cost.rows_within(self.budgets.shortest_s(now) / 2, most), cost.efficient_rows(most, _EFFICIENT))
        return max(1, cost.rows_within(self._queue.deadline - now - station.starts_in_s(now), min(most, polite)))

    def _row_s(self, station: Station) -> float:
        """Say what a row costs in a full batch, with all copies of the model at work."""
        most = self._limits.batch_rows
        return station.cost.expect_s(most) / most / station.model.parallel
