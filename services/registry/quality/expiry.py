"""Forgets predictions whose outcomes may come no more, beside all else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from services.mesh.background import background

logger = logging.getLogger(__name__)
INTERVAL_S = 1.0


@asynccontextmanager
async def forgetting(forget: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """Call `forget` again and again for the time of the context: at once where it says that there may be more."""
    async with background(_repeat(forget)):
        yield


async def _repeat(forget: Callable[[], Awaitable[bool]]) -> None:
    while True:
        try:
            more = await forget()
        except Exception:
            # Whatever it was, a later attempt is all there is to do, and nobody else would make it.
            logger.exception("predictions could not be forgotten", extra={"retry_s": INTERVAL_S})
            more = False
        if not more:
            await asyncio.sleep(INTERVAL_S)
