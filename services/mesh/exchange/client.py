"""The caller's end: a few streams to a target, used in turn, so that calls spread over its replicas."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count

import grpc

from predictmesh.mesh.v1.exchange_service_pb2 import Call, ExchangeRequest, ExchangeResponse
from predictmesh.mesh.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from services.mesh.errors import DeadlineExceeded, ShuttingDown, UpstreamUnavailable
from services.mesh.local import Metadata
from services.mesh.outcome import Outcome
from services.mesh.status import from_status

# The channel's round robin places streams, not calls. Several of them, renewed, find every replica, new ones too.
STREAMS = 4
RENEWED_AFTER_S = 5.0
# Messages that wait to be sent over a stream at most: its server does not read them, and more would not help it.
MAX_UNSENT = 1024

Stream = grpc.aio.StreamStreamCall[ExchangeRequest, ExchangeResponse]


class Unsupported(Exception):
    """The call was not made: it does not go over streams of this server. Call the method itself."""


class Exchanges:
    """Streams to one target. They are opened when they are first used; `opened_with` is what they say for all their calls."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        max_message_bytes: int,
        streams: int,
        opened_with: Callable[[], Metadata] = tuple,
    ) -> None:
        self._stub = ExchangeServiceStub(channel)
        self.opened_with = opened_with
        # A large request would hold up those behind it, and one too large would end the stream.
        self._max_request_bytes = max_message_bytes // 16
        self._in_turn: list[_Exchange | None] = [None] * streams
        self._open: set[_Exchange] = set()
        self._turns = count()
        self._supported = True

    async def call(self, path: str, request: bytes, timeout: float | None, metadata: Metadata) -> bytes:
        """Return the response's bytes; raises MeshErrors, or Unsupported."""
        if not self._supported or len(request) > self._max_request_bytes:
            raise Unsupported
        try:
            return await self._next().call(path, request, timeout, metadata)
        except Unsupported:
            # The server is none of ours, or of an earlier release.
            self._supported = False
            raise

    async def close(self) -> None:
        """End every stream, and what is under way on it."""
        await asyncio.gather(*(exchange.close() for exchange in self._open))

    def _open_stream(self) -> Stream:
        return self._stub.Exchange(metadata=self.opened_with())

    def _next(self) -> _Exchange:
        slot = next(self._turns) % len(self._in_turn)
        exchange = self._in_turn[slot]
        if exchange is not None and exchange.worn():
            exchange.retire()
            exchange = None
        if exchange is None:
            exchange = self._in_turn[slot] = _Exchange(self._open_stream(), on_end=self._open.discard)
            self._open.add(exchange)
        return exchange


class _Exchange:
    """One stream and the calls under way on it."""

    def __init__(self, stream: Stream, on_end: Callable[[_Exchange], None]) -> None:
        self._stream = stream
        self._outcome = Outcome(stream)
        self._opened = time.monotonic()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[ExchangeResponse]] = {}
        # None is the last: the end of the requests.
        self._unsent: asyncio.Queue[ExchangeRequest | None] = asyncio.Queue()
        self._retired = False
        self._ended = False
        self._on_end = on_end
        # One task writes for all: gRPC takes one message at a time, and ends the stream when a writer is cancelled.
        self._writing = asyncio.create_task(self._write())
        self._reading = asyncio.create_task(self._read())

    def worn(self) -> bool:
        """Return whether the stream takes no more calls, or is due to be renewed."""
        return self._retired or self._ended or time.monotonic() - self._opened > RENEWED_AFTER_S

    def retire(self) -> None:
        """Take no more calls; end when those under way are answered."""
        if not self._retired:
            self._retired = True
            self._end_if_idle()

    async def close(self) -> None:
        """End now."""
        self._stream.cancel()
        await asyncio.gather(self._reading, self._writing, return_exceptions=True)

    async def call(self, path: str, request: bytes, timeout: float | None, metadata: Metadata) -> bytes:
        """Make one call; raises MeshErrors, or Unsupported."""
        if self._unsent.qsize() >= MAX_UNSENT:
            raise UpstreamUnavailable(f"{MAX_UNSENT} messages wait for the server to read them")
        number, loop = next(self._numbers), asyncio.get_running_loop()
        waiting = self._waiting[number] = loop.create_future()
        call = Call(method=path, request=request, metadata=dict(metadata), timeout_us=_microseconds(timeout))  # type: ignore[arg-type]
        timer = None if timeout is None else loop.call_later(timeout, _expire, waiting, path)
        self._unsent.put_nowait(ExchangeRequest(id=number, call=call))
        try:
            response = await waiting
        finally:
            if timer is not None:
                timer.cancel()
            if self._waiting.pop(number, None) is not None:
                # Nobody answered: the caller has gone, or his time is over.
                self._unsent.put_nowait(ExchangeRequest(id=number, cancel=True))
                self._end_if_idle()
        if response.HasField("error"):
            raise from_status(response.error)
        return bytes(response.response)

    async def _write(self) -> None:
        try:
            while (request := await self._unsent.get()) is not None:
                if request.cancel or request.id in self._waiting:
                    await self._stream.write(request)
            await self._stream.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The stream has ended. Why, the reader finds out, and tells everybody who waits.
            return

    async def _read(self) -> None:
        raised: grpc.aio.AioRpcError | None = None
        try:
            while isinstance(response := await self._stream.read(), ExchangeResponse):
                self._take(response)
        except grpc.aio.AioRpcError as error:
            raised = self._outcome.error(error)
        finally:
            self._end(raised)

    def _take(self, response: ExchangeResponse) -> None:
        if response.draining:
            self.retire()
            return
        waiting = self._waiting.pop(response.id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(response)
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._retired and not self._waiting:
            self._unsent.put_nowait(None)

    def _end(self, raised: grpc.aio.AioRpcError | None) -> None:
        self._ended = True
        self._stream.cancel()
        self._writing.cancel()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(_end_of_stream(raised))
        self._waiting.clear()
        self._on_end(self)


def _microseconds(timeout: float | None) -> int:
    """Return `timeout` as it is sent, where 0 stands for none."""
    return 0 if timeout is None else int(timeout * 1e6) or -1


def _expire(waiting: asyncio.Future[ExchangeResponse], path: str) -> None:
    if not waiting.done():
        waiting.set_exception(DeadlineExceeded(f"{path} was not answered in time"))


def _end_of_stream(raised: grpc.aio.AioRpcError | None) -> Exception:
    if raised is None:
        return ShuttingDown("the stream of calls has ended")
    if raised.code() is grpc.StatusCode.UNIMPLEMENTED:
        return Unsupported()
    # Its code is that of the stream, and says nothing of the call.
    return UpstreamUnavailable(raised.details() or raised.code().name)
