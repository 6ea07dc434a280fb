"""A new certificate is for new connections: what calls over an old one moves, and no call fails for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, Generic, TypeVar

from services.mesh.line import Line
from services.mesh.security.certificates import Material
from services.mesh.security.identity import Identity

logger = logging.getLogger(__name__)
S = TypeVar("S")
Opening = Callable[[], Awaitable[Line[S]]]
# How long a new connection may take to carry, and the pause after one that does not.
PROBE_S, AGAIN_S = 1.0, 1.0


async def following(identity: Identity, known: Material, renew: Callable[[], Awaitable[bool]]) -> None:
    """Call `renew` whenever the identity is not `known` any more, and again while it fails or returns that it could not.

    Goes on until cancelled. `known` is what the present connection was made with.
    """
    while True:
        known = await identity.newer_than(known)
        while not await _done(renew):  # noqa: ASYNC110 - that the other end is well again is no event here
            await asyncio.sleep(AGAIN_S)


async def _done(renew: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await renew()
    except Exception:
        logger.exception("a connection with the new certificate could not be opened")
        return False


async def opened_well(opening: Opening[S], limit_s: float) -> Line[S] | None:
    """Return a new line whose other end says within `limit_s` that it is well, or None."""
    new = await opening()
    try:
        well = await new.probe(limit_s)
    except BaseException:
        await new.close()
        raise
    if well:
        return new
    # The old one may still do: that its certificate ends does not end a connection.
    await new.close()
    return None


class Retiring:
    """Lines that take no more calls; each ends when nothing is under way over it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, line: Line[Any]) -> None:
        """Let a line end."""
        task = asyncio.create_task(line.retire())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all of them now."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Moving(Generic[S]):
    """A stub whose calls go over the line made last; `stub` is the same object all the time."""

    def __init__(self, line: Line[S], opening: Opening[S], identity: Identity) -> None:
        self.stub = copy(line.stub)
        self._line = line
        self._opening = opening
        self._retiring = Retiring()
        self._following = asyncio.create_task(following(identity, identity.current, self._renew))

    async def close(self) -> None:
        """End what goes on in the background, and the lines."""
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self._retiring.close()
        await self._line.close()

    async def _renew(self) -> bool:
        new = await opened_well(self._opening, PROBE_S)
        if new is None:
            return False
        old, self._line = self._line, new
        vars(self.stub).update(vars(new.stub))
        self._retiring.add(old)
        return True
