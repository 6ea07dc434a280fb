"""A connection that leads nowhere is replaced: nothing tells of one whose other end, or a router between, has lost it.

gRPC's own keepalive takes half a minute to find that out, and each call that goes over it meanwhile is lost. One that was
made with an earlier certificate is replaced, too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import grpc

from services.mesh.line import Line
from services.mesh.replicas import Connection
from services.mesh.security.identity import Identity
from services.mesh.security.succession import Retiring, following, opened_well

logger = logging.getLogger(__name__)
S = TypeVar("S")
# After so long a silence a replica is asked whether it is well; one that only takes its time says so at once.
SILENT_S = 0.4
LOOK_EVERY_S = 0.1
# How long it is asked before it is asked over a new connection too, and how long in all.
ALONE_S, PROBE_S = 0.25, 1.0
# Before the first attempt to connect a channel is idle.
_USABLE = frozenset({grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.IDLE})


class Renewing(Generic[S]):
    """Keeps a connection to one replica on a line that carries; `opening` opens another one.

    With `identity` it is replaced when that is, too.
    """

    def __init__(
        self,
        address: str,
        line: Line[S],
        opening: Callable[[], Awaitable[Line[S]]],
        identity: Identity | None = None,
    ) -> None:
        self.connection = Connection(address, line.stub, self.probe)
        self._line = line
        self._opening = opening
        self._one_at_a_time = asyncio.Lock()
        self._retiring = Retiring()
        self._watching = asyncio.create_task(self._watch(line.channel))
        self._following = [asyncio.create_task(self._listen())]
        if identity is not None:
            self._following.append(asyncio.create_task(following(identity, identity.current, self.renew)))

    async def close(self) -> None:
        """End what goes on in the background, and the line."""
        tasks = (self._watching, *self._following)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._retiring.close()
        await self._line.close()

    async def renew(self) -> bool:
        """Return whether a new line carries; then it is the line, and what is under way on the old one ends there."""
        async with self._one_at_a_time:
            new = await opened_well(self._opening, PROBE_S)
            if new is not None:
                self._retiring.add(self._use(new))
            return new is not None

    async def probe(self, timeout_s: float) -> bool:
        """Return whether the replica is well; where only a new line says so, it is the line from now on."""
        async with self._one_at_a_time:
            standing = asyncio.ensure_future(self._line.probe(timeout_s))
            try:
                await asyncio.wait({standing}, timeout=min(ALONE_S, timeout_s))
                if standing.done():
                    return standing.result()
                return await self._either(standing, timeout_s - ALONE_S)
            finally:
                standing.cancel()

    async def _either(self, standing: asyncio.Future[bool], timeout_s: float) -> bool:
        """Ask over a new line, beside the one that is silent; the first to say that all is well stays.

        The silent one may be without a connection, too: behind the proxy of a service mesh gRPC takes a replica that was away
        for one whose health service fails, and looks again after seconds at first, after two minutes in the end.
        """
        new = await self._opening()
        trying = asyncio.ensure_future(new.probe(timeout_s))
        try:
            for answer in asyncio.as_completed({standing, trying}):
                if await answer:
                    if not (standing.done() and standing.result()):
                        await self._take(new)
                    return True
            return False
        finally:
            trying.cancel()
            if self._line is not new:
                await new.close()

    async def _take(self, new: Line[S]) -> None:
        old = self._use(new)
        logger.info("a connection that led nowhere was replaced", extra={"replica": self.connection.address})
        # Who waits there is told to ask again.
        await old.close()

    def _use(self, new: Line[S]) -> Line[S]:
        """Call over the new line from now on, and return the old one."""
        old, self._line = self._line, new
        self.connection.stub = new.stub
        self._watching.cancel()
        self._watching = asyncio.create_task(self._watch(new.channel))
        return old

    async def _watch(self, channel: grpc.aio.Channel) -> None:
        """Keep `reachable` at what the channel knows; it connects again whenever the connection is lost."""
        while True:
            state = channel.get_state(try_to_connect=True)
            self.connection.reachable = state in _USABLE
            await channel.wait_for_state_change(state)

    async def _listen(self) -> None:
        """Ask a replica that is silent whether it is well, once a silence."""
        asked_in = 0.0
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            since = self.connection.silent_since
            if since and since != asked_in and time.monotonic() - since > SILENT_S:
                asked_in = since
                try:
                    await self.probe(PROBE_S)
                except Exception:
                    logger.exception("a silent replica was not asked", extra={"replica": self.connection.address})
