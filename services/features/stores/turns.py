"""Who may use a connection to the store: what comes while all are in use waits, and that is not the store's failure."""

from __future__ import annotations

import asyncio

from services.features.stores.limits import limit_s
from services.mesh.errors import StoreUnavailable


class Turns:
    """A context in which `most` at a time may be; the others wait in the order in which they came.

    Entering raises StoreUnavailable when no turn has come within `timeout_s` and the deadline of the running call.
    """

    def __init__(self, most: int, *, timeout_s: float) -> None:
        self._free = asyncio.Semaphore(most)
        self._timeout_s = timeout_s

    async def __aenter__(self) -> None:
        """Wait for a turn, where there is none."""
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()

    async def __aexit__(self, *_: object) -> None:
        """Let the next one in."""
        self._free.release()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(limit_s(self._timeout_s)):
                await self._free.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("No connection to the feature store came free in time") from error
