"""Making a failed call again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import tenacity

from services.mesh.deadline import Deadline
from services.mesh.errors import Code, MeshError
from services.mesh.resilience.budget import RetryBudget
from services.mesh.resilience.errors import CircuitOpen

T = TypeVar("T")
MOST_ATTEMPTS = 3
# Full jitter: anything up to so many seconds, twice as many before the next attempt.
JITTER_S = 0.02


def may_help(error: BaseException) -> bool:
    """Say whether a call that ended so may fare better when it is made again."""
    return isinstance(error, MeshError) and error.code is Code.UNAVAILABLE and not isinstance(error, CircuitOpen)


async def again(
    attempt: Callable[[], Awaitable[T]], failure: MeshError, *, deadline: Deadline, budget: RetryBudget
) -> T:
    """Make a call again whose first attempt was a `failure` that may be helped; raises the last attempt's failure.

    No attempt begins after the deadline, or sooner than the failure before it told (RetryInfo).
    """
    first = [failure]

    async def once() -> T:
        if first:
            raise first.pop()
        return await attempt()

    def stop(state: tenacity.RetryCallState) -> bool:
        return (
            state.attempt_number >= MOST_ATTEMPTS
            or state.upcoming_sleep >= deadline.remaining()
            or not budget.take()
        )  # fmt: skip

    policy = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(may_help), wait=_wait_s, stop=stop, sleep=asyncio.sleep, reraise=True
    )
    return await policy(once)


_jitter = tenacity.wait_random_exponential(multiplier=JITTER_S)


def _wait_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    told_s = error.retry_after_s if isinstance(error, MeshError) else None
    return (told_s or 0.0) + _jitter(state)
