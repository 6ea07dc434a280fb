"""Waiting for what will be, with a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(condition: Callable[[], bool], *, within_s: float = 10) -> None:
    """Return once `condition` holds; TimeoutError if it does not in time."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what a condition looks at has no event
            await asyncio.sleep(0.005)


async def eventually_answers(question: Callable[[], Awaitable[bool]], *, within_s: float = 20) -> None:
    """Return once `question` is answered with yes; TimeoutError if it is not in time."""
    async with asyncio.timeout(within_s):
        while not await question():  # noqa: ASYNC110 - nor has a process that is asked from outside
            await asyncio.sleep(0.02)


def until(ask: Callable[[], T], wanted: Callable[[T], bool], *, within_s: float = 20) -> T:
    """Return the answer as soon as it is a wanted one, outside of an event loop; TimeoutError if it is not in time."""
    deadline = time.monotonic() + within_s
    while not wanted(answer := ask()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the last answer was {answer!r}")
        time.sleep(0.02)
    return answer
