"""Calls that take a stream of requests: when the stream itself fails, its caller gets that error and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from services.mesh.errors import MeshError


class _Requests:
    """The caller's requests, and what ended them. grpc.aio would cancel the call and drop the cause."""

    def __init__(self, requests: AsyncIterator[Any]) -> None:
        self._requests = requests
        self.error: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for request in self._requests:
                yield request
        except Exception as error:
            self.error = error
            raise


def fed(invoke: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return `invoke`, which answers once, raising what the requests raised."""

    async def call(requests: AsyncIterator[Any], **options: Any) -> Any:
        noted = _Requests(requests)
        try:
            return await invoke(noted, **options)
        except (asyncio.CancelledError, MeshError):
            if noted.error is None:
                raise
        raise noted.error

    return call


def fed_stream(invoke: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    """Return `invoke`, which answers with a stream, raising what the requests raised."""

    async def call(requests: AsyncIterator[Any], **options: Any) -> AsyncIterator[Any]:
        noted = _Requests(requests)
        try:
            async with aclosing(invoke(noted, **options)) as responses:  # type: ignore[type-var]  # a generator
                async for response in responses:
                    yield response
        except (asyncio.CancelledError, MeshError):
            if noted.error is None:
                raise
        if noted.error is not None:
            raise noted.error

    return call
