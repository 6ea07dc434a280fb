"""Waiting for what will be, with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


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
