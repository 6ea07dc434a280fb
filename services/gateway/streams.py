"""A stream of requests, each answered as soon as it can be, a bounded number under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from services.mesh.errors import ShuttingDown

Q = TypeVar("Q")
A = TypeVar("A")
_DRAINED = "the gateway is about to stop; send what is not answered to another"


@dataclass(frozen=True, slots=True)
class _End:
    """Follows the last answer."""

    error: BaseException | None


async def answer_all(
    requests: AsyncIterator[Q], answer: Callable[[Q], Awaitable[A]], *, limit: int, draining: asyncio.Event
) -> AsyncIterator[A]:
    """Yield the answer of each request, in the order they are made.

    No more than `limit` are under way or waiting to be sent: beyond that the caller is not read, so that flow control
    slows him down. Ends when the caller has sent all and all are answered, or with the first error of `requests` or
    `answer`, as it is; once `draining` is set with ShuttingDown, when all that was read is answered. However it ends,
    nothing is left under way.
    """
    stream = _Stream(answer, limit)
    serving = asyncio.create_task(stream.serve(requests, draining))
    try:
        while not isinstance(found := await stream.answers.get(), _End):
            yield found
            stream.slots.release()
        if found.error is not None:
            raise found.error
    finally:
        await _end({serving, *stream.under_way})


class _Stream(Generic[Q, A]):
    """The requests under way, and the answers that have not been sent."""

    def __init__(self, answer: Callable[[Q], Awaitable[A]], limit: int) -> None:
        self._answer = answer
        self.slots = asyncio.Semaphore(limit)
        self.answers: asyncio.Queue[A | _End] = asyncio.Queue()
        self.under_way: set[asyncio.Task[None]] = set()

    async def serve(self, requests: AsyncIterator[Q], draining: asyncio.Event) -> None:
        """Read until all is read or `draining` is set; the end follows the last answer."""
        try:
            all_read = await _until(draining, self._read(requests))
            await asyncio.gather(*self.under_way)
            self.answers.put_nowait(_End(None if all_read else ShuttingDown(_DRAINED)))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised where the answers are awaited
            self.answers.put_nowait(_End(error))

    async def _read(self, requests: AsyncIterator[Q]) -> None:
        await self.slots.acquire()
        async for request in requests:
            task = asyncio.create_task(self._one(request))
            self.under_way.add(task)
            task.add_done_callback(self.under_way.discard)
            await self.slots.acquire()

    async def _one(self, request: Q) -> None:
        try:
            self.answers.put_nowait(await self._answer(request))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as above
            self.answers.put_nowait(_End(error))


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work` until `stop` is set; return whether it was done before. Raises what it raises."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()
    finally:
        await _end({working, stopping})


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
