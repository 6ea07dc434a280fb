"""Forgets predictions whose outcomes may come no more, beside all else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.registry.quality.outcomes import Outcomes

logger = logging.getLogger(__name__)
INTERVAL_S = 1.0


@asynccontextmanager
async def expiring(outcomes: Outcomes) -> AsyncIterator[None]:
    """Look for them again and again, for the time of the context."""
    task = asyncio.create_task(_forget(outcomes))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _forget(outcomes: Outcomes) -> None:
    while True:
        try:
            more = await outcomes.forget()
        except Exception:
            # Whatever it was, a later attempt is all there is to do, and nobody else would make it.
            logger.exception("predictions could not be forgotten", extra={"retry_s": INTERVAL_S})
            more = False
        if not more:
            await asyncio.sleep(INTERVAL_S)
