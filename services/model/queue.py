"""The rows that wait for a version, the most urgent first."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, insort
from typing import NamedTuple

from services.model.tickets import Rows, Ticket


class Portion(NamedTuple):
    """Rows of one call that travel together."""

    ticket: Ticket
    rows: Rows


class DeadlineQueue:
    """Calls in the order of their earliest waiting row's deadline; equal ones in the order of arrival."""

    def __init__(self) -> None:
        self.rows = 0
        """Rows that wait."""
        # The most urgent last, where it is cheap to take away: (minus the deadline, minus the order of arrival, call).
        self._entries: list[tuple[float, int, Ticket]] = []
        self._arrivals = itertools.count()

    def __bool__(self) -> bool:
        return self.rows > 0

    @property
    def deadline(self) -> float:
        """The earliest deadline; infinite when nothing waits."""
        return -self._entries[-1][0] if self._entries else math.inf

    def push(self, ticket: Ticket) -> None:
        """Put a call in its place."""
        self.rows += ticket.waiting
        insort(self._entries, (-ticket.deadline, -next(self._arrivals), ticket))

    def left(self, ticket: Ticket) -> None:
        """Note that the caller has gone: his rows that wait are never taken. Nothing if none does."""
        if not ticket.waiting:
            return
        key = -ticket.deadline
        place = bisect_left(self._entries, (key, -math.inf))
        while place < len(self._entries) and self._entries[place][0] == key:
            if self._entries[place][2] is ticket:
                # Now, and not when its turn comes: more urgent calls may come for ever.
                del self._entries[place]
                self.rows -= ticket.withdraw()
                return
            place += 1

    def ahead_of(self, deadline: float) -> int:
        """Say about how many rows are at least as urgent: exactly, if all calls are about as large."""
        if not self._entries:
            return 0
        before = len(self._entries) - bisect_left(self._entries, (-deadline, -math.inf))
        return self.rows * before // len(self._entries)

    def take(self, most: int, until: float = math.inf) -> list[Portion]:
        """Take the most urgent rows, `most` at most and none due after `until`."""
        portions: list[Portion] = []
        everything = self.rows <= most and until == math.inf
        while most > 0 and self.deadline <= until and self._entries:
            _, arrival, ticket = self._entries.pop()
            rows = ticket.take(most, until if everything else min(until, self.deadline))
            portions.append(Portion(ticket, rows))
            most -= len(rows)
            self.rows -= len(rows)
            if ticket.waiting:
                insort(self._entries, (-ticket.deadline, arrival, ticket))
        return portions
