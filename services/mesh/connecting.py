"""Opens a connection to each replica of a service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

import grpc

from services.mesh.channel import MAX_MESSAGE_BYTES, channel_options, open_line
from services.mesh.exchange.client import STREAMS
from services.mesh.line import Line
from services.mesh.renewing import Renewing
from services.mesh.replicas import Connection
from services.mesh.security.identity import Identity
from services.mesh.security.own_token import OwnToken
from services.mesh.target import addresses, is_name

S = TypeVar("S")


@asynccontextmanager
async def open_connections(
    target: str,
    stub: Callable[[grpc.aio.Channel], S],
    *,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    identity: Identity | None = None,
    token: OwnToken | None = None,
    standing: bool = True,
) -> AsyncIterator[tuple[Connection[S], ...]]:
    """Connect to the replicas at `target`: a channel each where their addresses are listed, else one for all.

    Calls go over streams that stay open; none goes to a replica whose health service says that it is not ready. The
    failed calls of the stubs raise MeshErrors. `identity` and `token` as for `open_stub`. Without `standing` each call goes
    by itself and no health is watched, so that nothing is under way between calls.
    """
    async with AsyncExitStack() as stack:
        yield tuple(
            [
                await stack.enter_async_context(
                    _connection(
                        address, partial(_line, address, stub, max_message_bytes, identity, token, standing), identity
                    )
                )
                for address in addresses(target)
            ]
        )


@asynccontextmanager
async def _connection(
    address: str, opening: Callable[[], Awaitable[Line[S]]], identity: Identity | None
) -> AsyncIterator[Connection[S]]:
    renewing = Renewing(address, await opening(), opening, identity)
    try:
        yield renewing.connection
    finally:
        await renewing.close()


async def _line(
    address: str,
    stub: Callable[[grpc.aio.Channel], S],
    max_message_bytes: int,
    identity: Identity | None,
    token: OwnToken | None,
    standing: bool,
) -> Line[S]:
    # Else a new channel would take the connection that another one of this process has.
    options = [*channel_options(max_message_bytes, only_serving=standing), ("grpc.use_local_subchannel_pool", 1)]
    # Only where the channel finds several replicas are more streams more than one.
    streams = 0 if not standing else STREAMS if is_name(address) else 1
    return await open_line(address, stub, options, max_message_bytes, streams=streams, identity=identity, token=token)
