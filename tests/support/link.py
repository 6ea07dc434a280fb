"""A TCP link to a process that a test can spoil: slow, lossy, parted, reset, forgotten. Its bytes pass through the test's loop.

async with link("127.0.0.1", port) as made:
    made.weather = Weather(delay_s=0.05, loss=0.02)
    made.answers = Weather(bytes_per_s=1000)     # what comes back, if that is another
    made.part()     # nothing passes, in either direction, and nobody is told
    made.join()     # what was held back arrives
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PIECE_BYTES = 2**16
# TCP sends again what was lost after at least this time (Linux), and what is behind it waits as long.
RETRANSMIT_S = 0.2


@dataclass(frozen=True)
class Weather:
    """What happens to each piece on its way, in either direction.

    `loss` is the fraction of pieces that TCP has to send again: they, and those behind them, arrive later.
    """

    delay_s: float = 0
    jitter_s: float = 0
    loss: float = 0
    bytes_per_s: float = math.inf

    def holds_s(self, size: int, random: random.Random) -> float:
        """How long a piece of `size` bytes is under way."""
        held_s = self.delay_s + random.uniform(0, self.jitter_s) + size / self.bytes_per_s
        return held_s + RETRANSMIT_S if random.random() < self.loss else held_s


CLEAR = Weather()


@dataclass(eq=False)
class _Connection:
    """Both sockets of one connection. A forgotten one swallows what is sent, as a router does that has lost its state."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter | None = None
    forgotten: bool = False
    serving: asyncio.Task[None] | None = None

    def reset(self) -> None:
        for writer in (self.near, self.far):
            if writer is not None:
                writer.transport.abort()
        if self.serving is not None:
            self.serving.cancel()


@dataclass
class Link:
    """Listens on a port of its own and passes all on to `host`:`port`."""

    host: str
    port: int
    seed: int = 0
    weather: Weather = CLEAR
    answers: Weather | None = None
    _passing: asyncio.Event = field(default_factory=asyncio.Event)
    _connections: set[_Connection] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where to call instead of the process, HOST:PORT."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    async def open(self) -> None:
        """Listen."""
        self._random = random.Random(self.seed)
        self._passing.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        """Listen no more, and end what is open."""
        assert self._server is not None
        self._server.close()
        serving = [connection.serving for connection in self._connections if connection.serving is not None]
        self.reset()
        await asyncio.gather(*serving, return_exceptions=True)

    def part(self) -> None:
        """Let nothing pass, and tell nobody; who connects now hears nothing either."""
        self._passing.clear()

    def join(self) -> None:
        """Let pass again; what was held back arrives, as TCP makes it."""
        self._passing.set()

    def reset(self) -> None:
        """End all connections by a reset."""
        for connection in list(self._connections):
            connection.reset()

    def forget(self) -> None:
        """Leave the connections that are open half-open: nothing passes them any more, and nobody is told."""
        for connection in self._connections:
            connection.forgotten = True

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        self._connections.add(connection)
        connection.serving = asyncio.create_task(self._serve(connection, reader))

    async def _serve(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        try:
            await self._passing.wait()
            far_reader, connection.far = await asyncio.open_connection(self.host, self.port)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(connection, reader, connection.far))
                both.create_task(self._pass_on(connection, far_reader, connection.near, back=True))
        except* OSError:
            pass  # either end has reset it
        finally:
            connection.serving = None
            connection.reset()
            self._connections.discard(connection)

    async def _pass_on(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        back: bool = False,
    ) -> None:
        while piece := await reader.read(PIECE_BYTES):
            weather = self.answers if back and self.answers is not None else self.weather
            if weather is not CLEAR:
                await asyncio.sleep(weather.holds_s(len(piece), self._random))
            await self._passing.wait()
            if not connection.forgotten:
                writer.write(piece)
                await writer.drain()
        await self._passing.wait()
        if not connection.forgotten:
            writer.write_eof()


@asynccontextmanager
async def link(host: str, port: int, *, seed: int = 0) -> AsyncIterator[Link]:
    """Open a link for the time of the context."""
    made = Link(host, port, seed)
    await made.open()
    try:
        yield made
    finally:
        await made.close()
