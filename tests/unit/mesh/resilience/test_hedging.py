"""A second attempt beside a slow first one, in virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from services.mesh.errors import InvalidArgument, MeshError, UpstreamUnavailable
from services.mesh.resilience.hedging import Race
from tests.support.virtual_time import run_virtually

AFTER_S = 0.01


class Attempt:
    """Answers its name after a while, or fails; knows how it ended."""

    def __init__(self, name: str, takes_s: float, error: MeshError | None = None) -> None:
        self.name = name
        self.end = "not begun"
        self._takes_s = takes_s
        self._error = error

    async def __call__(self) -> str:
        self.end = "cancelled"
        await asyncio.sleep(self._takes_s)
        self.end = "failed" if self._error else "answered"
        if self._error:
            raise self._error
        return self.name


def raced(second: Attempt | None, then: Callable[[Race[str]], Coroutine[Any, Any, object]]) -> Any:
    """Run `then` with the race of both, and let what is left end."""

    async def run() -> object:
        race = Race(lambda: None if second is None else second())
        try:
            return await then(race)
        finally:
            await asyncio.sleep(0)

    return run_virtually(run())


def outcome(first: Attempt, second: Attempt | None) -> tuple[str, float, bool, bool]:
    """Return the answer, after how many seconds it came, whether there was a second attempt, and whether that won."""

    async def run(race: Race[str]) -> tuple[str, float, bool, bool]:
        start = time.monotonic()
        answer = await race.run(first(), AFTER_S)
        return answer, round(time.monotonic() - start, 3), race.begun, race.won

    result: tuple[str, float, bool, bool] = raced(second, run)
    return result


def test_second_attempt_is_not_begun_while_the_first_is_in_time() -> None:
    """A call that is answered soon costs no second one."""
    first, second = Attempt("first", 0.009), Attempt("second", 0.001)
    assert ("first", 0.009, False, False) == outcome(first, second)
    assert "not begun" == second.end


def test_first_answer_wins() -> None:
    """The second attempt answers for a slow first one, which is cancelled."""
    first, second = Attempt("first", 1.0), Attempt("second", 0.002)
    assert ("second", 0.012, True, True) == outcome(first, second)
    assert ("cancelled", "answered") == (first.end, second.end)


def test_late_second_attempt_is_cancelled() -> None:
    """The first attempt may still be the first to answer."""
    first, second = Attempt("first", 0.015), Attempt("second", 1.0)
    assert ("first", 0.015, True, False) == outcome(first, second)
    assert "cancelled" == second.end


def test_second_attempt_that_fails_changes_nothing() -> None:
    """The first attempt is waited for as if there had been no other."""
    first, second = Attempt("first", 0.1), Attempt("second", 0.001, UpstreamUnavailable("gone"))
    assert ("first", 0.1, True, False) == outcome(first, second)


def test_there_may_be_no_second_attempt() -> None:
    """A slow call goes on where nobody else is to be asked."""
    assert ("first", 0.1, False, False) == outcome(Attempt("first", 0.1), None)


def test_second_attempt_answers_for_a_first_that_cannot_be_reached() -> None:
    """A failure that another replica may spare the caller is not told while another is being asked."""
    first, second = Attempt("first", 0.02, UpstreamUnavailable("gone")), Attempt("second", 0.05)
    assert ("second", 0.06, True, False) == outcome(first, second)


def test_refusal_is_an_answer() -> None:
    """What is wrong with the request is wrong with it everywhere."""
    first, second = Attempt("first", 0.02, InvalidArgument("bad")), Attempt("second", 1.0)
    with pytest.raises(InvalidArgument):
        outcome(first, second)
    assert "cancelled" == second.end


def test_failure_of_both_is_told() -> None:
    """When neither can be reached the caller learns it, once both have been tried."""
    first, second = (
        Attempt("first", 0.02, UpstreamUnavailable("first")),
        Attempt("second", 0.05, UpstreamUnavailable("second")),
    )
    with pytest.raises(UpstreamUnavailable, match="second"):
        outcome(first, second)


@pytest.mark.parametrize("leaves_s", [0.005, 0.05], ids=["before the second", "during the second"])
def test_caller_who_leaves_ends_both(leaves_s: float) -> None:
    """Nobody is asked for a caller who has gone."""
    first, second = Attempt("first", 1.0), Attempt("second", 1.0)

    async def leave(race: Race[str]) -> None:
        task = asyncio.create_task(race.run(first(), AFTER_S))
        await asyncio.sleep(leaves_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    raced(second, leave)
    assert "cancelled" == first.end
    assert second.end == ("not begun" if leaves_s < AFTER_S else "cancelled")


def test_caller_who_leaves_when_the_second_answers_has_gone() -> None:
    """Winning a race does not bring back who was cancelled at the same moment."""
    first = Attempt("first", 1.0)

    async def leave(race: Race[str]) -> None:
        task = asyncio.create_task(race.run(first(), AFTER_S))
        while not race.won:  # noqa: ASYNC110 - in virtual time
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    raced(Attempt("second", 0.001), leave)


def test_callers_own_timeout_still_works() -> None:
    """A race inside a timeout leaves it as it was: won, then over time."""
    first = Attempt("first", 1.0)

    async def late(race: Race[str]) -> None:
        async with asyncio.timeout(0.5):
            assert "second" == await race.run(first(), AFTER_S)
            await asyncio.sleep(1.0)

    with pytest.raises(TimeoutError):
        raced(Attempt("second", 0.001), late)
