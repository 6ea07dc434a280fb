"""One service behind this one, as one user of it sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Generic, TypeAlias, TypeVar

from services.mesh.context import current
from services.mesh.deadline import Deadline
from services.mesh.errors import DeadlineExceeded, MeshError, Reason, UpstreamUnavailable
from services.mesh.replicas import Connection, Replica, Replicas
from services.mesh.resilience import retrying
from services.mesh.resilience.budget import RetryBudget
from services.mesh.resilience.effort import NO_EFFORT, Effort
from services.mesh.resilience.errors import CircuitOpen
from services.mesh.resilience.hedging import Answering, Race
from services.mesh.resilience.latency import Latency
from services.mesh.resilience.replica_breaker import ReplicaBreaker
from services.mesh.telemetry import names
from services.mesh.telemetry.spans import note

S = TypeVar("S")
T = TypeVar("T")
Attempt: TypeAlias = Callable[[S, float], Awaitable[T]]
"""Calls a replica's stub with a timeout in seconds."""

# Beyond what nearly all calls take, times this, a replica that has answered nobody is silent; within these limits.
SILENCE, SILENCE_S = 5, (0.1, 2.0)
# By so much a caller may leave before the deadline and yet leave because of it.
EARLY_S = 0.005
# This part of all calls may be made of a second replica too; what is saved up of it is that of the last 200 calls.
HEDGED, MOST_HEDGES = 0.05, 10
# Times the 95th percentile: right after it one call of twenty would use up what the slow tail needs.
PATIENCE = 1.5


class Hop(Generic[S]):
    """Calls to one service, which may be made twice. What fails for one hop is nothing to another of the same service.

    With `hedged` a second replica is asked when the first takes longer than nearly all calls do.
    """

    def __init__(self, name: str, connections: Sequence[Connection[S]], *, hedged: bool = False) -> None:
        self.name = name
        self.breakers_open = 0
        """How many replicas are not asked at present."""
        self.latency = Latency()
        self.replicas = Replicas(connections, lambda connection: ReplicaBreaker(name, connection, self._changed))
        self._budget = RetryBudget()
        self._several = len(connections) > 1
        self._hedges = RetryBudget(fraction=HEDGED, most=MOST_HEDGES, start=0) if hedged and self._several else None

    async def call(self, attempt: Attempt[S, T], deadline: Deadline, *, first: bool = True) -> tuple[T, Effort]:
        """Return the answer of one of the replicas, and what it took; raises what the last one asked has raised.

        Where all of them have been failing it is CircuitOpen, at once. A call that its user makes again by itself is not
        the `first`: it allows for no further ones.
        """
        if first:
            self._budget.called()
        replica = self._choose()
        try:
            if self._hedges is None:
                answer, hedged = await self._ask(replica, attempt, deadline), False
            else:
                answer, hedged = await self._race(self._hedges, replica, attempt, deadline)
        except MeshError as error:
            if not retrying.may_help(error):
                raise
            failure = error
        else:
            unusual = hedged or self.breakers_open
            return answer, Effort(hedged=hedged, breakers_open=self.breakers_open) if unusual else NO_EFFORT
        return await self._ask_again(replica, failure, attempt, deadline)

    def states(self) -> dict[str, str]:
        """Return the state of each replica's breaker by the replica's address."""
        return {replica.address: replica.breaker.state for replica in self.replicas}

    async def stop(self) -> None:
        """End what goes on in the background."""
        await asyncio.gather(*(replica.breaker.stop() for replica in self.replicas))

    def _choose(self, avoiding: Collection[Replica[S, ReplicaBreaker]] = ()) -> Replica[S, ReplicaBreaker]:
        replica = self.replicas.choose(avoiding)
        if replica is None:
            raise CircuitOpen(
                f"{self.name} has been failing; its circuit breaker is open",
                retry_after_s=self.replicas.retry_after_s(),
                hop=self.name,
            )
        return replica

    async def _race(
        self, hedges: RetryBudget, first: Replica[S, ReplicaBreaker], attempt: Attempt[S, T], deadline: Deadline
    ) -> tuple[T, bool]:
        """Return the first answer, and whether a second replica was asked for it."""
        hedges.called()

        def beside() -> Answering[T] | None:
            other = self.replicas.choose((first,))
            if other is None or other is first or not hedges.take():
                return None
            names.HEDGES.labels(self.name).inc()
            note(current(), "hedge", {"hop": self.name, "replica": other.address})
            return self._ask(other, attempt, deadline)

        race = Race(beside)
        answer = await race.run(self._ask(first, attempt, deadline), PATIENCE * self.latency.p95_s)
        if race.won:
            names.HEDGES_WON.labels(self.name).inc()
            first.breaker.unanswered(self._ample_s())
        return answer, race.begun

    async def _ask(self, replica: Replica[S, ReplicaBreaker], attempt: Attempt[S, T], deadline: Deadline) -> T:
        started = time.monotonic()
        remaining = deadline.at - started
        if remaining <= 0:
            raise DeadlineExceeded(f"no time was left for {self.name}")
        breaker = replica.breaker
        breaker.asked(started)
        replica.outstanding += 1
        try:
            answer = await attempt(replica.stub, remaining)
        except MeshError as error:
            breaker.ended(error, self._ample_s())
            if isinstance(error, DeadlineExceeded):
                self._unanswered(replica, started)
            if error.reason is Reason.UPSTREAM_UNAVAILABLE:
                # What gRPC says of it names addresses, which are not for callers.
                raise UpstreamUnavailable(f"{self.name} cannot be reached", hop=self.name) from error
            raise
        except asyncio.CancelledError:
            self._unanswered(replica, started)
            if deadline.remaining() <= EARLY_S:
                breaker.unanswered(self._ample_s())
            raise
        finally:
            replica.outstanding -= 1
        breaker.answered()
        now = time.monotonic()
        self.latency.observe(now - started)
        if self._several:
            replica.pace.took(now - started, now)
        return answer

    def _unanswered(self, replica: Replica[S, ReplicaBreaker], started: float) -> None:
        if self._several:
            now = time.monotonic()
            replica.pace.took_at_least(now - started, now)

    async def _ask_again(
        self, first: Replica[S, ReplicaBreaker], failure: MeshError, attempt: Attempt[S, T], deadline: Deadline
    ) -> tuple[T, Effort]:
        asked = [first]

        async def elsewhere() -> T:
            replica = self._choose(asked)
            asked.append(replica)
            names.RETRIES.labels(self.name).inc()
            note(current(), "retry", {"hop": self.name, "replica": replica.address})
            return await self._ask(replica, attempt, deadline)

        answer = await retrying.again(elsewhere, failure, deadline=deadline, budget=self._budget)
        return answer, Effort(retries=len(asked) - 1, breakers_open=self.breakers_open)

    def _ample_s(self) -> float:
        least, most = SILENCE_S
        return min(most, max(least, SILENCE * self.latency.p99_s))

    def _changed(self, opened: int) -> None:
        self.breakers_open += opened
