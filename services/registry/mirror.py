"""Keeps the newest snapshot in object storage, off the path of those who change something."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from services.mesh.errors import MeshError
from services.registry.ledger import Revision
from services.registry.newest import Newest

logger = logging.getLogger(__name__)
RETRY_S = (0.2, 10.0)
CLOSING_S = 5.0


class SnapshotStore(Protocol):
    """Where the snapshot lies."""

    async def put(self, path: str, data: bytes) -> None:
        """Write the bytes, whole or not at all; MeshError if it cannot."""


class Mirror:
    """Writes `serialize(newest)` at `path`, again and again until the newest is there."""

    def __init__(
        self, newest: Newest[Revision], store: SnapshotStore, path: str, serialize: Callable[[Revision], bytes]
    ) -> None:
        self._newest = newest
        self._store = store
        self._path = path
        self._serialize = serialize
        self._written: Revision | None = None

    @property
    def revision(self) -> int | None:
        """The revision that is there; None before the first."""
        return self._written.number if self._written else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Mirror]:
        """Write for the time of the context; at its end the newest is written, or a few seconds have been tried."""
        writing = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            self._newest.close()
            _, late = await asyncio.wait({writing}, timeout=CLOSING_S)
            if late:
                logger.error("the newest snapshot is not in object storage", extra={"stored": self.revision})
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)

    async def _run(self) -> None:
        delay = RETRY_S[0]
        while (revision := await self._next()) is not None:
            try:
                await self._store.put(self._path, self._serialize(revision))
            except MeshError as error:
                logger.warning("a snapshot could not be stored", extra={"cause": repr(error), "retry_s": delay})
                await asyncio.sleep(delay)
                delay = min(2 * delay, RETRY_S[1])
            else:
                self._written, delay = revision, RETRY_S[0]

    async def _next(self) -> Revision | None:
        """The newest as soon as it is not the written one; None when there will be no other."""
        if self._written is not None:
            await self._newest.wait_unless(self._written)
        return None if self._newest.value is self._written else self._newest.value
