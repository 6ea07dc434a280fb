"""Opens a connection to each replica of a service, and watches whether it stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import grpc

from services.mesh.channel import MAX_MESSAGE_BYTES, channel_options, stub_over
from services.mesh.exchange.client import STREAMS
from services.mesh.probing import health_probe
from services.mesh.replicas import Connection
from services.mesh.target import addresses, is_name

S = TypeVar("S")
# Before the first attempt to connect a channel is idle.
_USABLE = frozenset({grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.IDLE})


@asynccontextmanager
async def open_connections(
    target: str, stub: Callable[[grpc.aio.Channel], S], *, max_message_bytes: int = MAX_MESSAGE_BYTES
) -> AsyncIterator[tuple[Connection[S], ...]]:
    """Connect to the replicas at `target`: a channel each where their addresses are listed, else one for all.

    Calls go over streams that stay open; none goes to a replica whose health service says that it is not ready. The
    failed calls of the stubs raise MeshErrors.
    """
    listed = addresses(target)
    async with AsyncExitStack() as stack:
        yield tuple(
            [await stack.enter_async_context(_connection(address, stub, max_message_bytes)) for address in listed]
        )


@asynccontextmanager
async def _connection(
    address: str, stub: Callable[[grpc.aio.Channel], S], max_message_bytes: int
) -> AsyncIterator[Connection[S]]:
    options = channel_options(max_message_bytes, only_serving=True)
    # Only where the channel finds several replicas are more streams more than one.
    streams = STREAMS if is_name(address) else 1
    async with (
        grpc.aio.insecure_channel(address, options=options) as channel,
        stub_over(channel, stub, max_message_bytes, streams=streams) as made,
    ):
        connection = Connection(address, made, health_probe(channel))
        watching = asyncio.create_task(_watch(channel, connection))
        try:
            yield connection
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def _watch(channel: grpc.aio.Channel, connection: Connection[S]) -> None:
    """Keep `reachable` at what the channel knows; it connects again whenever the connection is lost."""
    while True:
        state = channel.get_state(try_to_connect=True)
        connection.reachable = state in _USABLE
        await channel.wait_for_state_change(state)
