"""The server's end: each message of the stream is a call of one of its unary methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc

from predictmesh.mesh.v1.exchange_service_pb2 import Call, ExchangeRequest, ExchangeResponse
from services.mesh.errors import MeshError, UnknownMethod
from services.mesh.interceptors.errors import Malformed, tolerant
from services.mesh.local import local_unary
from services.mesh.methods import Method
from services.mesh.status import to_status


class Exchange:
    """Answers streams of calls with `methods`, which have their interceptors around them."""

    def __init__(self, methods: Iterable[Method]) -> None:
        unary = [method for method in methods if method.unary is not None and not method.request_streaming]
        self._calls = {method.path: local_unary(method) for method in unary}
        self._parsers = {method.path: tolerant(method.deserialize) for method in unary}
        self._serializers = {method.path: method.serialize for method in unary}
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """End every stream when the calls under way on it are answered."""
        self._draining.set()

    async def serve(
        self, requests: AsyncIterator[ExchangeRequest | Malformed], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Answer the calls of one stream until its caller ends it, or this server drains."""
        under_way: dict[int, asyncio.Task[None]] = {}
        reading = asyncio.create_task(self._read(requests, context, under_way))
        draining = asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait((reading, draining), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*under_way.values(), return_exceptions=True)
        finally:
            for task in (reading, draining, *under_way.values()):
                task.cancel()

    async def _read(
        self,
        requests: AsyncIterator[ExchangeRequest | Malformed],
        context: grpc.aio.ServicerContext[Any, Any],
        under_way: dict[int, asyncio.Task[None]],
    ) -> None:
        # gRPC takes one message at a time.
        writing = asyncio.Lock()

        async def answer(number: int, call: Call) -> None:
            try:
                response = await self._answer(number, call)
                async with writing:
                    await context.write(response)
            finally:
                del under_way[number]

        async for request in requests:
            if isinstance(request, Malformed):
                # Whoever speaks another language is not one of ours.
                return
            if request.HasField("call"):
                under_way[request.id] = asyncio.create_task(answer(request.id, request.call))
            elif request.id in under_way:
                under_way[request.id].cancel()

    async def _answer(self, number: int, call: Call) -> ExchangeResponse:
        try:
            invoke = self._calls.get(call.method)
            if invoke is None:
                raise UnknownMethod(f"there is no unary method {call.method}", method=call.method)
            request = self._parsers[call.method](call.request)
            timeout = call.timeout_us / 1e6 if call.timeout_us else None
            response = await invoke(request, timeout=timeout, metadata=tuple(call.metadata.items()))
            return ExchangeResponse(id=number, response=self._serializers[call.method](response))
        except MeshError as error:
            return ExchangeResponse(id=number, error=to_status(error))
