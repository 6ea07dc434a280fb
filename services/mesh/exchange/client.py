"""The caller's end: a few streams to a target, used in turn, so that calls spread over its replicas."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from itertools import count

import grpc

from predictmesh.mesh.v1.exchange_service_pb2 import Call, ExchangeRequest, ExchangeResponse
from predictmesh.mesh.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from services.mesh.errors import DeadlineExceeded, MeshError, ShuttingDown
from services.mesh.status import from_rpc_error, from_status

# The channel's round robin places streams, not calls. Several of them, renewed, find every replica, new ones too.
STREAMS = 4
RENEWED_AFTER_S = 5.0

Metadata = Sequence[tuple[str, str | bytes]]
Stream = grpc.aio.StreamStreamCall[ExchangeRequest, ExchangeResponse]


class Unsupported(Exception):
    """The server is none of ours, or of an earlier release: call the method itself."""


class Exchanges:
    """Streams to one target. They are opened when they are first used."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ExchangeServiceStub(channel)
        self._exchanges: list[_Exchange | None] = [None] * STREAMS
        self._turns = count()
        self.supported = True

    async def call(self, path: str, request: bytes, timeout: float | None, metadata: Metadata) -> bytes:
        """Return the response's bytes; raises what the server answered, or Unsupported."""
        exchange = self._next()
        try:
            return await exchange.call(path, request, timeout, metadata)
        except Unsupported:
            self.supported = False
            raise

    def close(self) -> None:
        """End every stream, and what is under way on it."""
        for exchange in self._exchanges:
            if exchange is not None:
                exchange.close()

    def _next(self) -> _Exchange:
        slot = next(self._turns) % STREAMS
        exchange = self._exchanges[slot]
        if exchange is not None and exchange.worn():
            exchange.retire()
            exchange = None
        if exchange is None:
            exchange = self._exchanges[slot] = _Exchange(self._stub.Exchange())
        return exchange


class _Exchange:
    """One stream and the calls under way on it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._opened = time.monotonic()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[ExchangeResponse]] = {}
        self._writing = asyncio.Lock()
        self._retired = False
        self._ended = False
        self._tasks = {asyncio.create_task(self._read())}

    def worn(self) -> bool:
        """Return whether the stream has ended, or is due to be renewed."""
        return self._ended or time.monotonic() - self._opened > RENEWED_AFTER_S

    def retire(self) -> None:
        """Take no more calls; end when those under way are answered."""
        self._retired = True
        self._end_if_idle()

    def close(self) -> None:
        """End now."""
        self._stream.cancel()
        for task in self._tasks:
            task.cancel()

    async def call(self, path: str, request: bytes, timeout: float | None, metadata: Metadata) -> bytes:
        """Make one call; raises MeshErrors."""
        number, loop = next(self._numbers), asyncio.get_running_loop()
        waiting = self._waiting[number] = loop.create_future()
        call = Call(method=path, request=request, metadata=dict(metadata), timeout_us=int((timeout or 0) * 1e6))  # type: ignore[arg-type]
        timer = None if timeout is None else loop.call_later(timeout, _expire, waiting, path)
        try:
            await self._write(ExchangeRequest(id=number, call=call))
            response = await waiting
        finally:
            if timer is not None:
                timer.cancel()
            if self._waiting.pop(number, None) is not None and not self._ended:
                # Nobody answered: the caller has gone, or his time is over.
                self._start(self._write(ExchangeRequest(id=number, cancel=True)))
            self._end_if_idle()
        if response.HasField("error"):
            raise from_status(response.error)
        return bytes(response.response)

    async def _write(self, request: ExchangeRequest) -> None:
        try:
            async with self._writing:
                await self._stream.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The stream has ended. Why, the reader finds out, and tells everybody who waits.
            return

    async def _read(self) -> None:
        error: Exception = ShuttingDown("the server ended the stream")
        try:
            while isinstance(response := await self._stream.read(), ExchangeResponse):
                waiting = self._waiting.pop(response.id, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(response)
        except grpc.aio.AioRpcError as raised:
            error = _end_of_stream(raised)
        finally:
            self._ended = True
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(error)

    def _end_if_idle(self) -> None:
        if self._retired and not self._waiting and not self._ended:
            self._start(self._stream.done_writing())

    def _start(self, writing: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(writing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _expire(waiting: asyncio.Future[ExchangeResponse], path: str) -> None:
    if not waiting.done():
        waiting.set_exception(DeadlineExceeded(f"{path} was not answered in time"))


def _end_of_stream(raised: grpc.aio.AioRpcError) -> MeshError | Unsupported:
    if raised.code() is grpc.StatusCode.UNIMPLEMENTED:
        return Unsupported()
    return from_rpc_error(raised)
