"""What tests of services share: waiting for conditions, and servicers behind a real server or a local stub."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], *, limit_s: float = 10, what: str = "the condition") -> None:
    """Return once `condition` holds; AssertionError when it does not within `limit_s`."""
    try:
        async with asyncio.timeout(limit_s):
            while not condition():  # noqa: ASYNC110 - what is waited for knows of no event
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"{what} did not come true within {limit_s} s") from None
