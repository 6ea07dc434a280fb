"""What the caller of a hop does about its failures: one retry elsewhere, within a budget, behind a breaker.

Only the caller of a hop retries, only UNAVAILABLE, and only calls that may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pybreaker

from services.mesh.deadline import Deadline
from services.mesh.errors import Code, DeadlineExceeded, MeshError, Reason, UpstreamUnavailable
from services.mesh.telemetry import names

logger = logging.getLogger(__name__)
T = TypeVar("T")
Attempt = Callable[[float], Awaitable[T]]
RETRY_WAIT_S = (0.005, 0.025)
# How long a probe goes on when its caller has gone.
PROBE_ALONE_S = 1.0

# UNAVAILABLE, but said by a hop that is there: one version is missing, the others answer.
_OF_A_VERSION = frozenset({Reason.VERSION_NOT_LOADED, Reason.VERSION_NOT_READY})


class CircuitOpen(UpstreamUnavailable):
    """The hop has been failing, so that it is not asked."""


class RetryBudget:
    """Allows retries up to a fraction of recent calls, so that an outage is never amplified."""

    def __init__(self, *, fraction: float = 0.1, burst: float = 10) -> None:
        self._fraction = fraction
        self._burst = burst
        self._tokens = burst

    def called(self) -> None:
        """Count a first attempt."""
        self._tokens = min(self._burst, self._tokens + self._fraction)

    def take(self) -> bool:
        """Return whether one more retry is allowed, and count it."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Breaker:
    """Refuses calls at once while the hop fails: open after `threshold` UNAVAILABLE in a row, one probe after `cooldown_s`.

    pybreaker holds the state; when to probe is decided here, by the monotonic clock and one caller at a time, since its
    own half-open state would let everybody through who waits.
    """

    def __init__(self, hop: str, *, threshold: int = 5, cooldown_s: float = 1.0) -> None:
        self._hop = hop
        self._threshold = threshold
        self._cooldown_s = cooldown_s
        self._state = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        self._opened_at = 0.0
        self._probing = False
        self._set(pybreaker.STATE_CLOSED)

    @property
    def state(self) -> str:
        """closed, open or half-open."""
        return self._state.state

    def admit(self) -> bool:
        """Let a call pass and return whether it is the probe, or raise CircuitOpen."""
        if self.state == pybreaker.STATE_CLOSED:
            return False
        if self._probing or time.monotonic() - self._opened_at < self._cooldown_s:
            raise CircuitOpen(
                f"{self._hop} has been failing; its circuit breaker is open",
                retry_after_s=self._cooldown_s,
                hop=self._hop,
            )
        self._probing = True
        self._state.state = pybreaker.STATE_HALF_OPEN
        return True

    def succeeded(self) -> None:
        """Note an answer, whatever it says: the hop is there."""
        if self._state.counter:
            self._state.reset_counter()
        if self.state != pybreaker.STATE_CLOSED:
            self._set(pybreaker.STATE_CLOSED)

    def failed(self) -> None:
        """Note that the hop could not be reached."""
        if self.state == pybreaker.STATE_OPEN:
            return  # a straggler from before; the next probe knows better
        self._state.increment_counter()
        if self._probing or self._state.counter >= self._threshold:
            self._opened_at = time.monotonic()
            self._set(pybreaker.STATE_OPEN)

    def abandoned(self) -> None:
        """Note that the probe ended without telling anything of the hop, e.g. cancelled: the next call is one."""
        if self._probing:
            self._set(pybreaker.STATE_OPEN)

    def _set(self, state: str) -> None:
        self._probing = False
        self._state.state = state
        names.BREAKER_OPEN.labels(self._hop).set(state == pybreaker.STATE_OPEN)


class Hop:
    """Calls to one service behind this one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.breaker = Breaker(name)
        self._budget = RetryBudget()
        # The event loop alone does not keep a task alive.
        self._probe: asyncio.Task[object] | None = None

    async def call(self, attempt: Attempt[T], deadline: Deadline) -> T:
        """Run `attempt`, which takes its timeout in seconds; once more if it was UNAVAILABLE and the budgets allow."""
        self._budget.called()
        try:
            return await self._once(attempt, deadline)
        except MeshError as error:
            if not self._may_repeat(error, deadline):
                raise
        names.RETRIES.labels(self.name).inc()
        await asyncio.sleep(random.uniform(*RETRY_WAIT_S))  # noqa: S311 - jitter
        return await self._once(attempt, deadline)

    def _may_repeat(self, error: MeshError, deadline: Deadline) -> bool:
        return (
            error.code is Code.UNAVAILABLE
            and not isinstance(error, CircuitOpen)
            and deadline.remaining() > RETRY_WAIT_S[1]
            and self._budget.take()
        )

    async def _once(self, attempt: Attempt[T], deadline: Deadline) -> T:
        remaining = deadline.remaining()
        if remaining <= 0:
            raise DeadlineExceeded(f"no time was left for {self.name}")
        if self.breaker.admit():
            return await self._probed(attempt, remaining)
        return await self._attempt(attempt, remaining, probe=False)

    async def _probed(self, attempt: Attempt[T], remaining: float) -> T:
        """Run the probe, and for a while even if its caller goes: callers who never stay would keep the breaker open."""
        task = self._probe = asyncio.create_task(self._attempt(attempt, remaining, probe=True))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(PROBE_ALONE_S, task.cancel)
            raise

    async def _attempt(self, attempt: Attempt[T], remaining: float, *, probe: bool) -> T:
        try:
            answer = await attempt(remaining)
        except BaseException as error:
            self._note(error, probe=probe)
            if isinstance(error, MeshError) and error.reason is Reason.UPSTREAM_UNAVAILABLE:
                # What gRPC says of it names addresses, which are not for callers.
                raise UpstreamUnavailable(f"{self.name} cannot be reached", hop=self.name) from error
            raise
        self.breaker.succeeded()
        return answer

    def _note(self, error: BaseException, *, probe: bool) -> None:
        """Tell the breaker what a failure says of the hop; running out of time, or leaving, says nothing."""
        if not isinstance(error, MeshError) or error.code in {Code.DEADLINE_EXCEEDED, Code.CANCELLED}:
            if probe:
                self.breaker.abandoned()
        elif error.code is Code.UNAVAILABLE and error.reason not in _OF_A_VERSION:
            before = self.breaker.state
            self.breaker.failed()
            if before == pybreaker.STATE_CLOSED != self.breaker.state:
                logger.warning("the circuit breaker opened", extra={"hop": self.name, "cause": error.message})
        else:
            self.breaker.succeeded()
