"""A channel with the stub over it, and how it ends without failing a call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any, Generic, TypeVar

import grpc

from services.mesh.replicas import Probe

S = TypeVar("S")
# Whoever has just taken the stub makes his call within this time.
LINGER_S = 1.0


class Line(Generic[S]):
    """A channel with the stub over it; `resources` are what it is closed with, `calls` those under way over it."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        stub: S,
        probe: Probe,
        resources: AsyncExitStack,
        calls: UnderWay | None = None,
    ) -> None:
        self.channel = channel
        self.stub = stub
        self.probe = probe
        self._resources = resources
        self._calls = calls

    async def close(self) -> None:
        """End it, and what is under way over it."""
        await self._resources.aclose()

    async def retire(self) -> None:
        """End it once nothing is under way over it, when it takes no more calls."""
        try:
            await asyncio.sleep(LINGER_S)
            if self._calls is not None:
                await self._calls.none()
        finally:
            await self.close()


class UnderWay:
    """Counts the calls under way of a stub, whose methods it takes the place of."""

    def __init__(self, stub: object) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()
        for name, call in vars(stub).items():
            setattr(stub, name, self._streaming(call) if inspect.isasyncgenfunction(call) else self._unary(call))

    async def none(self) -> None:
        """Return when there are none."""
        await self._none.wait()

    def _unary(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - stands for any call
            self._begin()
            try:
                return await call(*arguments, **options)
            finally:
                self._end()

        return counted

    def _streaming(self, call: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
        async def counted(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
            self._begin()
            try:
                async with aclosing(call(*arguments, **options)) as responses:  # type: ignore[type-var]  # a generator
                    async for response in responses:
                        yield response
            finally:
                self._end()

        return counted

    def _begin(self) -> None:
        self._count += 1
        self._none.clear()

    def _end(self) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()
