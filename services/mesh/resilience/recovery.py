"""Finding out that a replica is back, without asking it for what anybody waits for."""

from __future__ import annotations

import asyncio
import logging
import random
import time

from services.mesh import context as contexts
from services.mesh.replicas import Probe
from services.mesh.resilience.breaker import Breaker
from services.mesh.resilience.window import WITHIN_S

logger = logging.getLogger(__name__)
# Before the first probe, and the longest before any: a replica may be well at once, and is to be found soon after it is.
PAUSE_S = (0.05, 0.5)
# A probe waits for the connection, so that nothing is lost by a long one.
PROBE_S = 1.0


class Recovery:
    """Probes while a breaker is open, one probe at a time, and closes it at the first answer.

    One who fails again soon after a probe is left alone for longer than before: its probes tell little.
    """

    def __init__(self, breaker: Breaker, probe: Probe) -> None:
        self._breaker = breaker
        self._probe = probe
        self._pause_s = PAUSE_S[0]
        self._next_at = 0.0
        self._ended_at = 0.0
        # The event loop alone does not keep a task alive.
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to probe; the breaker has just opened."""
        if time.monotonic() - self._ended_at > WITHIN_S:
            self._pause_s = PAUSE_S[0]
        else:
            self._lengthen()
        self._next_at = time.monotonic() + self._pause_s
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Probe no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def next_in_s(self) -> float:
        """Return the seconds until the next probe; while one is under way, what another would be after at least."""
        return max(PAUSE_S[0], self._next_at - time.monotonic())

    async def _run(self) -> None:
        # It outlives the call that found the failure, and its logs are not that call's.
        contexts.use(None)
        while True:
            # Those who have lost a replica together do not come back together.
            pause_s = self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            self._next_at = time.monotonic() + pause_s
            await asyncio.sleep(pause_s)
            self._breaker.probing()
            if await self._answered():
                break
            self._breaker.still_failing()
            self._lengthen()
        self._ended_at = time.monotonic()
        self._breaker.close()

    async def _answered(self) -> bool:
        try:
            return await self._probe(PROBE_S)
        except Exception:
            logger.exception("a probe failed")
            return False

    def _lengthen(self) -> None:
        self._pause_s = min(PAUSE_S[1], 2 * self._pause_s)
