"""The server's end: each message of the stream is a call of one of its unary methods."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

import grpc

from predictmesh.mesh.v1.exchange_service_pb2 import Call, ExchangeRequest, ExchangeResponse
from services.mesh.errors import MeshError, Overloaded, UnknownMethod
from services.mesh.interceptors.errors import Malformed, tolerant
from services.mesh.local import local_unary
from services.mesh.methods import Method
from services.mesh.security.caller import AUTHORIZATION
from services.mesh.security.peer import Peer
from services.mesh.status import to_status

logger = logging.getLogger(__name__)
Answer = Callable[[int, Call, Peer], Coroutine[None, None, ExchangeResponse]]
# What the message around a response takes at most.
ENVELOPE_BYTES = 32
# Calls of one stream under way, or answered and not yet read by the caller, at most; further ones wait.
MAX_CALLS = 1024
# Calls that wait at most, so that those who cancel are read meanwhile; behind so many nothing is read.
MAX_WAITING = 1024


class Exchange:
    """Answers streams of calls with `methods`, which have their interceptors around them; `calls` counts what has come."""

    def __init__(self, methods: Iterable[Method], *, max_message_bytes: int) -> None:
        unary = [method for method in methods if method.unary is not None and not method.request_streaming]
        self._calls = {method.path: local_unary(method) for method in unary}
        self._parsers = {method.path: tolerant(method.deserialize) for method in unary}
        self._serializers = {method.path: method.serialize for method in unary}
        self._max_response_bytes = max_message_bytes - ENVELOPE_BYTES
        self._streams: set[_Stream] = set()
        self.calls = 0
        self._draining = False

    def drain(self) -> None:
        """Ask the callers to end their streams. Calls are answered until they do."""
        self._draining = True
        for stream in self._streams:
            stream.drain()

    async def serve(
        self, requests: AsyncIterator[ExchangeRequest | Malformed], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Answer the calls of one stream until its caller ends it."""
        stream = _Stream(requests, self._answer, _peer(context))
        self._streams.add(stream)
        if self._draining:
            stream.drain()
        try:
            while (response := await stream.responses.get()) is not None:
                await context.write(response)
                stream.written(response)
        finally:
            self._streams.discard(stream)
            stream.close()

    async def _answer(self, number: int, call: Call, peer: Peer) -> ExchangeResponse:
        self.calls += 1
        try:
            return ExchangeResponse(id=number, response=await self._invoke(call, peer))
        except MeshError as error:
            return ExchangeResponse(id=number, error=to_status(error))
        except Exception as error:
            # What the chain around the method does not see: what it answers is not the message that it should be.
            logger.exception("unexpected error", extra={"method": call.method})
            return ExchangeResponse(id=number, error=to_status(error))

    async def _invoke(self, call: Call, peer: Peer) -> bytes:
        invoke = self._calls.get(call.method)
        if invoke is None:
            raise UnknownMethod(f"there is no unary method {call.method}", method=call.method)
        request = self._parsers[call.method](call.request)
        timeout = call.timeout_us / 1e6 if call.timeout_us else None
        response = await invoke(request, timeout=timeout, metadata=(*peer.metadata, *call.metadata.items()), peer=peer)
        data = self._serializers[call.method](response)
        if len(data) > self._max_response_bytes:
            # As gRPC would answer a call by itself. Here it would end the stream, and every other call on it.
            raise Overloaded(f"the response has {len(data)} bytes, more than {self._max_response_bytes}")
        return data


class _Stream:
    """The calls of one stream. None in `responses` is the end: of the requests, and of all calls."""

    def __init__(self, requests: AsyncIterator[ExchangeRequest | Malformed], answer: Answer, peer: Peer) -> None:
        self.responses: asyncio.Queue[ExchangeResponse | None] = asyncio.Queue()
        self._answer = answer
        self._peer = peer
        self._under_way: dict[int, asyncio.Task[ExchangeResponse]] = {}
        self._room = asyncio.Semaphore(MAX_CALLS)
        self._taken = asyncio.Semaphore(MAX_CALLS + MAX_WAITING)
        self._reading = asyncio.create_task(self._read(requests))
        self._reading.add_done_callback(self._end_if_idle)

    def drain(self) -> None:
        """Ask the caller to end the stream."""
        self.responses.put_nowait(ExchangeResponse(draining=True))

    def written(self, response: ExchangeResponse) -> None:
        """Note that a response has left, and makes room for another call."""
        if not response.draining:
            self._room.release()
            self._taken.release()

    def close(self) -> None:
        """Cancel what is under way."""
        for task in (self._reading, *self._under_way.values()):
            task.cancel()

    async def _read(self, requests: AsyncIterator[ExchangeRequest | Malformed]) -> None:
        async for request in requests:
            if isinstance(request, Malformed):
                # Whoever speaks another language is not one of ours.
                return
            running = self._under_way.get(request.id)
            if request.HasField("call"):
                if running is not None:
                    return  # nor is who uses a number twice
                await self._taken.acquire()
                self._start(request.id, request.call)
            elif request.cancel and running is not None:
                running.cancel()

    def _start(self, number: int, call: Call) -> None:
        def done(task: asyncio.Task[ExchangeResponse]) -> None:
            del self._under_way[number]
            if task.cancelled():
                self._taken.release()
            else:
                self.responses.put_nowait(task.result())
            self._end_if_idle()

        # It is not written from the task: a caller who cancels would break off a message that is on its way.
        task = self._under_way[number] = asyncio.create_task(self._run(number, call))
        task.add_done_callback(done)

    async def _run(self, number: int, call: Call) -> ExchangeResponse:
        """Answer a call once there is room. An answer keeps it until it is written."""
        await self._room.acquire()
        try:
            return await self._answer(number, call, self._peer)
        except asyncio.CancelledError:
            self._room.release()
            raise

    def _end_if_idle(self, _: object = None) -> None:
        if self._reading.done() and not self._under_way:
            self.responses.put_nowait(None)


def _peer(context: grpc.aio.ServicerContext[Any, Any]) -> Peer:
    # Who opens the stream says once who calls.
    sent = tuple((key, value) for key, value in context.invocation_metadata() or () if key == AUTHORIZATION)
    return Peer(context.peer(), context.auth_context(), sent)
