"""When a server that is to stop has been left by its callers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# Callers that have not called for so long have gone elsewhere.
QUIET_S = 0.25
# Some never look at the health of whom they call.
PATIENCE_S = 5.0


async def until_left(calls: Callable[[], int], at_least_s: float) -> None:
    """Wait for some time, and then until nobody calls any more: `calls` counts those that have come.

    What comes once a server stops is lost, so that callers on a busy machine get up to PATIENCE_S longer to hear that it
    will. Without any time there is nobody to wait for.
    """
    if not at_least_s:
        return
    await asyncio.sleep(at_least_s)
    end = time.monotonic() + PATIENCE_S
    before = -1
    while time.monotonic() < end and calls() != before:
        before = calls()
        await asyncio.sleep(QUIET_S)
