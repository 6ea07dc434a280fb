"""One retry within its budgets, behind a breaker that one caller at a time may probe."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.mesh import resilience
from services.mesh.deadline import Deadline
from services.mesh.errors import (
    Code,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MeshError,
    Overloaded,
    Reason,
    RemoteError,
    UpstreamUnavailable,
)
from services.mesh.resilience import Breaker, CircuitOpen, Hop, RetryBudget
from tests.support.waiting import eventually


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that breakers see."""
    clock = Clock()
    monkeypatch.setattr(resilience, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once."""
    monkeypatch.setattr(resilience, "RETRY_WAIT_S", (0.0, 0.0))


class Answers:
    """An attempt that ends as it is told, one outcome a call; the last one stays."""

    def __init__(self, *outcomes: MeshError | str) -> None:
        self._outcomes = list(outcomes)
        self.timeouts: list[float] = []

    async def __call__(self, timeout: float) -> str:
        self.timeouts.append(timeout)
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, str):
            return outcome
        raise outcome


def unavailable() -> UpstreamUnavailable:
    """Return what a hop that cannot be reached raises."""
    return UpstreamUnavailable("gone")


def soon() -> Deadline:
    """Return a deadline that leaves time for a retry."""
    return Deadline.after(60)


async def test_first_answer_is_taken() -> None:
    """Success costs one attempt, with all the time that is left."""
    answers = Answers("answer")
    assert "answer" == await Hop("h").call(answers, soon())
    assert 1 == len(answers.timeouts)
    assert 59 < answers.timeouts[0] <= 60


async def test_unavailable_is_tried_once_more() -> None:
    """One UNAVAILABLE is invisible to the caller."""
    answers = Answers(unavailable(), "answer")
    assert "answer" == await Hop("h").call(answers, soon())
    assert 2 == len(answers.timeouts)
    assert answers.timeouts[1] < answers.timeouts[0]


async def test_second_unavailable_reaches_the_caller() -> None:
    """No call is made a third time."""
    answers = Answers(unavailable())
    with pytest.raises(UpstreamUnavailable):
        await Hop("h").call(answers, soon())
    assert 2 == len(answers.timeouts)


@pytest.mark.parametrize("error", [Internal("x"), Overloaded("x"), InvalidArgument("x"), DeadlineExceeded("x")])
async def test_nothing_else_is_tried_again(error: MeshError) -> None:
    """Only UNAVAILABLE says that another try may fare better."""
    answers = Answers(error)
    with pytest.raises(type(error)):
        await Hop("h").call(answers, soon())
    assert 1 == len(answers.timeouts)


async def test_no_attempt_after_the_deadline() -> None:
    """A hop is not asked when its answer would come too late."""
    answers = Answers("answer")
    with pytest.raises(DeadlineExceeded):
        await Hop("h").call(answers, Deadline.after(-1))
    assert [] == answers.timeouts


async def test_no_retry_without_time_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry that could not be answered in time is not made."""
    monkeypatch.setattr(resilience, "RETRY_WAIT_S", (0.0, 120.0))
    answers = Answers(unavailable())
    with pytest.raises(UpstreamUnavailable):
        await Hop("h").call(answers, soon())
    assert 1 == len(answers.timeouts)


async def test_retries_are_a_fraction_of_calls() -> None:
    """An outage of a hop is not doubled by its callers."""
    budget = RetryBudget(fraction=0.1, burst=10)
    taken = 0
    for _ in range(1000):
        budget.called()
        taken += budget.take()
    assert 10 + 99 <= taken <= 10 + 100


async def fail(hop: Hop, times: int, error: Callable[[], MeshError] = unavailable) -> None:
    """Let `times` attempts of calls to `hop` fail."""
    hop._budget._tokens = float("-inf")
    for _ in range(times):
        with pytest.raises(MeshError):
            await hop.call(Answers(error()), soon())


async def test_breaker_opens_after_failures_in_a_row(clock: Clock) -> None:
    """After five failures in a row the hop is not asked, and the refusal is not tried again."""
    hop = Hop("h")
    await fail(hop, 4)
    await hop.call(Answers("answer"), soon())
    await fail(hop, 4)
    assert "closed" == hop.breaker.state
    await fail(hop, 1)
    assert "open" == hop.breaker.state
    hop._budget._tokens = 10
    answers = Answers("answer")
    with pytest.raises(CircuitOpen) as refused:
        await hop.call(answers, soon())
    assert ([], 10) == (answers.timeouts, hop._budget._tokens)
    assert (Code.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE, 1.0) == (
        refused.value.code,
        refused.value.reason,
        refused.value.retry_after_s,
    )


@pytest.mark.parametrize(
    "error",
    [
        RemoteError(Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED, "x"),
        RemoteError(Code.NOT_FOUND, Reason.UNKNOWN_VIEW, "x"),
        Overloaded("x"),
        Internal("x"),
    ],
)
async def test_answers_of_a_hop_that_is_there_keep_the_breaker_closed(error: MeshError) -> None:
    """An error that the hop itself chose, or that concerns one version, is no reason to stop asking it."""
    hop = Hop("h")
    await fail(hop, 20, lambda: error)
    assert "closed" == hop.breaker.state


async def opened(clock: Clock) -> Hop:
    """Return a hop whose breaker is due for a probe."""
    hop = Hop("h")
    await fail(hop, 5)
    clock.now += 1.5
    return hop


def under_way(hop: Hop, gate: Awaitable[str]) -> asyncio.Task[str]:
    """Start a call that ends with `gate`."""

    async def attempt(timeout: float) -> str:
        return await gate

    return asyncio.create_task(hop.call(attempt, soon()))


async def test_one_probe_at_a_time(clock: Clock) -> None:
    """After the cooldown a single call asks the hop; the others are refused until it is back."""
    hop = await opened(clock)
    gate = asyncio.get_running_loop().create_future()
    probe = under_way(hop, gate)
    await asyncio.sleep(0)
    assert "half-open" == hop.breaker.state
    with pytest.raises(CircuitOpen):
        await hop.call(Answers("answer"), soon())
    gate.set_result("answer")
    assert "answer" == await probe
    assert "closed" == hop.breaker.state
    assert "answer" == await hop.call(Answers("answer"), soon())


async def test_failed_probe_opens_the_breaker_for_another_cooldown(clock: Clock) -> None:
    """A hop that still fails is left alone as long as before."""
    hop = await opened(clock)
    await fail(hop, 1)
    assert "open" == hop.breaker.state
    clock.now += 0.9
    with pytest.raises(CircuitOpen):
        await hop.call(Answers("answer"), soon())
    clock.now += 0.2
    assert "answer" == await hop.call(Answers("answer"), soon())


async def test_probe_goes_on_when_its_caller_leaves(clock: Clock) -> None:
    """So a hop whose callers never stay for the answer is found to be back all the same."""
    hop = await opened(clock)
    gate = asyncio.get_running_loop().create_future()
    probe = under_way(hop, gate)
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    with pytest.raises(CircuitOpen):
        await hop.call(Answers("answer"), soon())
    gate.set_result("answer")
    await eventually(lambda: hop.breaker.state == "closed")
    assert "answer" == await hop.call(Answers("answer"), soon())


async def test_probe_without_a_caller_leaves_its_place_to_the_next_call(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that tells nothing does not wedge the breaker."""
    monkeypatch.setattr(resilience, "PROBE_ALONE_S", 0.01)
    hop = await opened(clock)
    probe = under_way(hop, asyncio.get_running_loop().create_future())
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    await eventually(lambda: hop.breaker.state == "open")
    assert "answer" == await hop.call(Answers("answer"), soon())
    assert "closed" == hop.breaker.state


async def test_probe_that_ran_out_of_time_does_not_close_the_breaker(clock: Clock) -> None:
    """A hop that hangs is not taken for one that answers."""
    hop = await opened(clock)
    with pytest.raises(DeadlineExceeded):
        await hop.call(Answers(DeadlineExceeded("too late")), soon())
    assert "open" == hop.breaker.state


async def test_calls_from_before_do_not_disturb_the_probe(clock: Clock) -> None:
    """A call that left before the breaker opened and is cancelled during a probe does not let a second probe in."""
    hop = Hop("h")
    straggler = under_way(hop, asyncio.get_running_loop().create_future())
    await asyncio.sleep(0)
    await fail(hop, 5)
    clock.now += 1.5
    gate = asyncio.get_running_loop().create_future()
    probe = under_way(hop, gate)
    await asyncio.sleep(0)
    straggler.cancel()
    await asyncio.gather(straggler, return_exceptions=True)
    with pytest.raises(CircuitOpen):
        await hop.call(Answers("answer"), soon())
    gate.set_result("answer")
    await probe


def test_stragglers_do_not_prolong_the_cooldown(clock: Clock) -> None:
    """Failures of calls that left before the breaker opened do not move the time of the probe."""
    breaker = Breaker("h", threshold=1)
    breaker.failed()
    clock.now += 0.9
    breaker.failed()
    clock.now += 0.2
    assert breaker.admit()
