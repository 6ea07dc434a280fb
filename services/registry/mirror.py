"""Keeps the newest snapshot in object storage, off the path of those who change something."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol

from services.mesh.background import background
from services.registry.ledger import Revision
from services.registry.newest import Newest

logger = logging.getLogger(__name__)
RETRY_S = (0.2, 10.0)
CLOSING_S = 5.0


class SnapshotStore(Protocol):
    """Where the snapshot lies."""

    def put(self, path: str, data: bytes) -> Coroutine[Any, Any, None]:
        """Write the bytes, whole or not at all."""


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
        self._putting: asyncio.Future[None] | None = None

    @property
    def revision(self) -> int | None:
        """The revision that is there; None before the first."""
        return self._written.number if self._written else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Mirror]:
        """Write for the time of the context; at its end the newest is written, or a few seconds have been tried."""
        try:
            async with background(self._follow()):
                yield self
        finally:
            await self._finish()

    async def _follow(self) -> None:
        while True:
            if self._newest.value is self._written:
                await self._newest.woken()
            await self._write()

    async def _finish(self) -> None:
        try:
            async with asyncio.timeout(CLOSING_S):
                if self._putting is not None:
                    await asyncio.gather(self._putting, return_exceptions=True)
                await self._write()
        except TimeoutError:
            logger.error("the newest snapshot is not in object storage", extra={"stored": self.revision})  # noqa: TRY400

    async def _write(self) -> None:
        """Write until the newest is there."""
        delay = RETRY_S[0]
        while (revision := self._newest.value) is not self._written:
            try:
                await self._put(revision)
            except Exception:
                # Whatever it was, a later attempt is all there is to do, and nobody else would make it.
                logger.exception(
                    "a snapshot could not be stored", extra={"revision": revision.number, "retry_s": delay}
                )
                await asyncio.sleep(delay)
                delay = min(2 * delay, RETRY_S[1])
            else:
                self._written = revision

    async def _put(self, revision: Revision) -> None:
        # Storage may go on with a write whose caller is cancelled: it would end after the next one, and undo it.
        self._putting = asyncio.ensure_future(self._store.put(self._path, self._serialize(revision)))
        await asyncio.shield(self._putting)
