"""A stream of requests: answered as they can be, a bounded number at once, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from services.gateway.streams import answer_all
from services.mesh.errors import ShuttingDown
from tests.support.waiting import eventually

LIMIT_S = 5


@pytest.fixture(autouse=True)
async def nothing_left_under_way() -> AsyncIterator[None]:
    """However a stream ends, no task of it outlives it."""
    before = asyncio.all_tasks()
    yield
    assert not asyncio.all_tasks() - before - {asyncio.current_task()}


def streamed(
    requests: AsyncIterator[int],
    answer: Callable[[int], Awaitable[int]],
    limit: int,
    draining: asyncio.Event | None = None,
) -> AsyncIterator[int]:
    """Serve a stream, of a gateway that does not drain unless told otherwise."""
    return answer_all(requests, answer, limit=limit, draining=draining or asyncio.Event())


class Caller:
    """Sends numbers; notes how many were read."""

    def __init__(self, *sent: int | Exception) -> None:
        self.read = 0
        self._sent = sent

    async def requests(self) -> AsyncIterator[int]:
        for each in self._sent:
            await asyncio.sleep(0)  # as a wire would
            self.read += 1
            if isinstance(each, Exception):
                raise each
            yield each


class Desk:
    """Answers a number with its tenfold once its gate is open."""

    def __init__(self, *closed: int) -> None:
        self.started: list[int] = []
        self.cancelled: list[int] = []
        self.gates = {number: asyncio.Event() for number in closed}

    async def answer(self, number: int) -> int:
        self.started.append(number)
        try:
            if number in self.gates:
                await self.gates[number].wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        return number * 10


async def collected(answers: AsyncIterator[int]) -> list[int]:
    """Return all answers."""
    async with asyncio.timeout(LIMIT_S):
        return [answer async for answer in answers]


async def test_every_request_is_answered() -> None:
    """However many, and none without requests."""
    assert [number * 10 for number in range(100)] == await collected(
        streamed(Caller(*range(100)).requests(), Desk().answer, limit=4)
    )
    assert [] == await collected(streamed(Caller().requests(), Desk().answer, limit=4))


async def test_answers_come_as_they_are_made() -> None:
    """A slow request does not hold back those behind it."""
    desk = Desk(1)
    answers = streamed(Caller(1, 2, 3).requests(), desk.answer, limit=4)
    async with asyncio.timeout(LIMIT_S):
        assert [20, 30] == [await anext(answers), await anext(answers)]
        desk.gates[1].set()
        assert [10] == [answer async for answer in answers]


async def test_limit() -> None:
    """No more than so many are read before one of them is answered and taken."""
    caller, desk = Caller(*range(10)), Desk(*range(10))
    answers = streamed(caller.requests(), desk.answer, limit=3)
    first = asyncio.ensure_future(anext(answers))
    await eventually(lambda: len(desk.started) == 3)
    assert 3 == caller.read
    desk.gates[1].set()
    assert 10 == await first
    second = asyncio.ensure_future(anext(answers))
    await eventually(lambda: len(desk.started) == 4)
    assert 4 == caller.read
    for gate in desk.gates.values():
        gate.set()
    await second
    assert 8 == len(await collected(answers))


async def test_answers_that_nobody_takes_count() -> None:
    """A caller who does not read what he asked for is not read either."""
    caller, desk = Caller(*range(10)), Desk()
    answers = streamed(caller.requests(), desk.answer, limit=3)
    await anext(answers)
    for _ in range(20):
        await asyncio.sleep(0)
    assert 3 == caller.read
    await answers.aclose()  # type: ignore[attr-defined]  # a generator


async def test_error_of_the_caller_is_raised_as_it_is() -> None:
    """What was answered before is sent, what is under way is cancelled, and no group wraps the error."""
    desk = Desk(2)
    answers = streamed(Caller(1, 2, ValueError("torn")).requests(), desk.answer, limit=4)
    async with asyncio.timeout(LIMIT_S):
        assert 10 == await anext(answers)
        with pytest.raises(ValueError, match="torn"):
            await anext(answers)
    assert [2] == desk.cancelled


async def test_error_of_an_answer_is_raised_as_it_is() -> None:
    """A fault of ours ends the stream instead of leaving a request without an answer."""

    async def answer(number: int) -> int:
        if number == 2:
            raise KeyError(number)
        return number

    with pytest.raises(KeyError):
        await collected(streamed(Caller(1, 2, 3, 4, 5).requests(), answer, limit=2))


async def test_leaving_early_cancels_what_is_under_way() -> None:
    """A caller who has gone is not computed for."""
    desk = Desk(2, 3)
    answers = streamed(Caller(1, 2, 3).requests(), desk.answer, limit=4)
    assert 10 == await anext(answers)
    await eventually(lambda: desk.started == [1, 2, 3])
    await answers.aclose()  # type: ignore[attr-defined]  # a generator
    assert [2, 3] == sorted(desk.cancelled)


async def test_cancelled_while_it_waits() -> None:
    """The task that takes the answers may be cancelled at any time."""
    desk = Desk(1)
    taking = asyncio.create_task(collected(streamed(Caller(1).requests(), desk.answer, limit=4)))
    await eventually(lambda: desk.started == [1])
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    await eventually(lambda: desk.cancelled == [1])


async def test_draining() -> None:
    """What has been read is answered, nothing more is read, and the caller is told to go elsewhere with the rest."""
    desk, draining = Desk(1, 2), asyncio.Event()
    caller = Caller(1, 2, 3, 4)
    answers = streamed(caller.requests(), desk.answer, 2, draining)
    first = asyncio.ensure_future(anext(answers))
    await eventually(lambda: desk.started == [1, 2])
    draining.set()
    desk.gates[2].set()
    assert 20 == await first
    desk.gates[1].set()
    async with asyncio.timeout(LIMIT_S):
        assert 10 == await anext(answers)
        with pytest.raises(ShuttingDown, match="send what is not answered to another"):
            await anext(answers)
    assert [1, 2] == desk.started


async def test_draining_when_all_is_read() -> None:
    """A caller who has sent all gets all answers, and no error."""
    desk, draining = Desk(1), asyncio.Event()
    taking = asyncio.create_task(collected(streamed(Caller(1).requests(), desk.answer, 4, draining)))
    await eventually(lambda: desk.started == [1])
    for _ in range(20):
        await asyncio.sleep(0)
    draining.set()
    desk.gates[1].set()
    assert [10] == await taking
