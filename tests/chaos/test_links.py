"""The link that faults of the network are made with does what it says."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from tests.support.link import Link, Weather, link
from tests.worlds.sandbox import eventually

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest_asyncio.fixture(loop_scope="session")
async def echo() -> AsyncIterator[Link]:
    """A link to a server that sends back what it gets."""

    async def send_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(2**16):
                writer.write(piece)
        writer.close()

    server = await asyncio.start_server(send_back, "127.0.0.1", 0)
    async with server, link("127.0.0.1", server.sockets[0].getsockname()[1]) as made:
        yield made


@asynccontextmanager
async def connected(made: Link) -> AsyncIterator[Ends]:
    """Connect over the link for the time of the context."""
    host, _, port = made.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def sent(ends: Ends, text: bytes) -> bytes:
    """Send, and return what comes back."""
    reader, writer = ends
    writer.write(text)
    return await asyncio.wait_for(reader.readexactly(len(text)), 10)


async def test_passes_on(echo: Link) -> None:
    """All bytes, both ways, and the end of what is sent."""
    async with connected(echo) as ends:
        assert b"x" * 300_000 == await sent(ends, b"x" * 300_000)
        ends[1].write_eof()
        assert b"" == await asyncio.wait_for(ends[0].read(), 10)


async def test_delays(echo: Link) -> None:
    """Both ways take their time, or only the way back."""
    async with connected(echo) as ends:
        for echo.weather, echo.answers in ((Weather(delay_s=0.1), None), (Weather(), Weather(delay_s=0.2))):
            started = time.monotonic()
            await sent(ends, b"x")
            assert time.monotonic() - started >= 0.2


async def test_loses(echo: Link) -> None:
    """What is lost comes later."""
    async with connected(echo) as ends:
        echo.weather = Weather(loss=1)
        started = time.monotonic()
        await sent(ends, b"x")
        assert time.monotonic() - started >= 0.4


async def test_parts(echo: Link) -> None:
    """Nothing passes, over old connections and new ones, until it is joined; then all that was held back does."""
    async with connected(echo) as old:
        await sent(old, b"x")
        echo.part()
        async with connected(echo) as new:
            late = [asyncio.create_task(sent(ends, b"late")) for ends in (old, new)]
            done, _ = await asyncio.wait(late, timeout=0.2)
            assert not done
            echo.join()
            assert [b"late", b"late"] == await asyncio.gather(*late)


async def test_resets(echo: Link) -> None:
    """What is open ends at once; what is opened then is as ever."""
    async with connected(echo) as old:
        await sent(old, b"x")
        echo.reset()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await sent(old, b"x")
    async with connected(echo) as new:
        assert b"x" == await sent(new, b"x")


async def test_forgets(echo: Link) -> None:
    """What is open leads nowhere, and nobody is told; what is opened then is as ever."""
    async with connected(echo) as old:
        await sent(old, b"x")
        echo.forget()
        late = asyncio.create_task(sent(old, b"x"))
        done, _ = await asyncio.wait([late], timeout=0.2)
        assert not done
        late.cancel()
        async with connected(echo) as new:
            assert b"x" == await sent(new, b"x")


async def test_closes_with_pieces_under_way(echo: Link) -> None:
    """However long they would be."""
    async with link(echo.host, echo.port) as made, connected(made) as (_, writer):
        made.weather = Weather(delay_s=3600)
        writer.write(b"x")

        async def held() -> bool:
            return made.connections == 1

        await eventually(held, "a connection")
    assert not made.connections
