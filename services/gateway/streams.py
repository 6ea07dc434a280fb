"""A stream of requests, each answered as soon as it can be, a bounded number under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class _End:
    """Follows the last answer."""

    error: BaseException | None


async def answer_all(
    requests: AsyncIterator[Q], answer: Callable[[Q], Awaitable[A]], *, limit: int
) -> AsyncIterator[A]:
    """Yield the answer of each request, in the order they are made.

    No more than `limit` are under way or waiting to be sent: beyond that the caller is not read, so that flow control
    slows him down. Ends when the caller has sent all and all are answered, or with the first error of `requests` or
    `answer`, as it is; however it ends, nothing is left under way.
    """
    slots = asyncio.Semaphore(limit)
    answers: asyncio.Queue[A | _End] = asyncio.Queue()
    under_way: set[asyncio.Task[None]] = set()

    async def one(request: Q) -> None:
        try:
            answers.put_nowait(await answer(request))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised where the answers are awaited
            answers.put_nowait(_End(error))

    async def read() -> None:
        try:
            await slots.acquire()
            async for request in requests:
                task = asyncio.create_task(one(request))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                await slots.acquire()
            await asyncio.gather(*under_way)
            answers.put_nowait(_End(None))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as above
            answers.put_nowait(_End(error))

    reading = asyncio.create_task(read())
    try:
        while not isinstance(found := await answers.get(), _End):
            yield found
            slots.release()
        if found.error is not None:
            raise found.error
    finally:
        await _end({reading, *under_way})


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
