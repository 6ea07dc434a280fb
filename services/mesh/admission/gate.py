"""Lets calls in while there is room, the urgent ones for longest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType

from services.mesh.admission.allowance import Allowance
from services.mesh.admission.limit import AdaptiveLimit
from services.mesh.admission.priority import Priority
from services.mesh.errors import DeadlineExceeded, Overloaded
from services.mesh.telemetry import names

# Up to which share of the limit calls are let in, by priority. What goes beyond the limit is kept for urgent calls.
SHARES = {Priority.LOW: 0.5, Priority.NORMAL: 1.0, Priority.HIGH: 1.25}
# When to come back: after the time of so many calls, but not at once, nor much later than the limit takes to follow.
RETRY_LATENCIES = 4
SOONEST_S, LATEST_S = 0.1, 2.0
REFUSALS_PER_S = 500.0


def _nobody() -> None:
    """Stand in for who waits for room."""


class Gate:
    """Counts the calls under way of the methods that it is put before, and refuses those that there is no room for.

    A process has one at most, which is the one that its metrics tell of. To refuse a call takes a good part of the work of
    answering one, so that no more than `refusals_per_s` are taken only to be refused; `on_room` is called when a call ends.
    """

    def __init__(self, limit: AdaptiveLimit, *, refusals_per_s: float = REFUSALS_PER_S) -> None:
        self._limit = limit
        self._refusals = Allowance(refusals_per_s)
        self.on_room: Callable[[], None] = _nobody
        self._shed = {priority: names.SHED.labels(priority.name.lower()) for priority in Priority}
        self.in_flight = 0
        names.ADMISSION_LIMIT.set_function(lambda: limit.value)
        names.ADMISSION_IN_FLIGHT.set_function(lambda: self.in_flight)

    @property
    def limit(self) -> int:
        """How many calls of normal priority may be under way."""
        return self._limit.value

    def has_room(self, priority: Priority) -> bool:
        """Return whether a call of this priority would be let in now."""
        return self.in_flight < self._limit.value * SHARES[priority]

    def to_take(self, waiting: int) -> int:
        """Return how many calls to take from the network, where `waiting` were taken and have not come here yet.

        As many as there is room for, or as may be refused: only who has been taken can be told when to come back.
        """
        return max(self._limit.value - self.in_flight, self._refusals.left()) - waiting

    def refusal(self, priority: Priority) -> Overloaded:
        """Count a call that is not let in, and return what to tell its caller."""
        self._limit.refused()
        self._refusals.use()
        self._shed[priority].inc()
        return Overloaded(
            f"as many calls are under way as can be answered in time at {priority.name.lower()} priority; come back later",
            retry_after_s=round(min(LATEST_S, max(SOONEST_S, RETRY_LATENCIES * self._limit.latency_s)), 1),
        )

    def turned_away(self) -> None:
        """Take note of a call that was refused for what its caller is: it costs as much, and says nothing of the load."""
        # None is owed: a flood of strangers while there is room must not keep others from being told, later, to come back.
        if self._refusals.left() > 0:
            self._refusals.use()

    def admit(self, priority: Priority) -> Stay:
        """Let a call in for the time of the returned context; raises Overloaded."""
        if not self.has_room(priority):
            raise self.refusal(priority)
        return Stay(self)

    def left(self, seconds: float, error: BaseException | None) -> None:
        """Take note of a call that has ended after so long."""
        self.in_flight -= 1
        self.on_room()
        if error is None or isinstance(error, DeadlineExceeded) or self._gave_up(seconds, error):
            # Other errors come early, and say nothing of how busy the service is.
            self._limit.answered(seconds)

    def _gave_up(self, seconds: float, error: BaseException) -> bool:
        """Return whether a caller has left because it took long; others leave for reasons of their own."""
        return isinstance(error, asyncio.CancelledError) and seconds > self._limit.latency_s


class Stay:
    """One call under way."""

    __slots__ = ("_gate", "_start")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __enter__(self) -> None:
        self._gate.in_flight += 1
        self._start = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._gate.left(time.perf_counter() - self._start, error)
