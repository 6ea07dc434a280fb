"""A stream of requests, each answered as soon as it can be, a bounded number under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


async def answer_all(
    requests: AsyncIterator[Q], answer: Callable[[Q], Awaitable[A]], *, limit: int
) -> AsyncIterator[A]:
    """Yield the answer of each request, in the order they are made.

    No more than `limit` are under way or waiting to be sent: beyond that the caller is not read, so that flow control
    slows him down. Ends when the caller has sent all and all are answered; leaving early cancels what is under way.
    """
    slots = asyncio.Semaphore(limit)
    answers: asyncio.Queue[A | None] = asyncio.Queue()

    async def one(request: Q) -> None:
        answers.put_nowait(await answer(request))

    async def read() -> None:
        under_way: set[asyncio.Task[None]] = set()
        try:
            async for request in requests:
                await slots.acquire()
                task = asyncio.create_task(one(request))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.gather(*under_way)
        finally:
            for task in under_way:
                task.cancel()

    reading = asyncio.create_task(read())
    # However the reader ends, the loop below must not wait for ever.
    reading.add_done_callback(lambda _: answers.put_nowait(None))
    try:
        while (found := await answers.get()) is not None:
            yield found
            slots.release()
        await reading
    finally:
        reading.cancel()
