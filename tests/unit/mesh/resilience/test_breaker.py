"""When a circuit breaker opens: by the share of the last calls that failed."""

from __future__ import annotations

import time

import pytest

from services.mesh.resilience.breaker import Breaker
from services.mesh.resilience.window import MOST, WITHIN_S


class Clock:
    """The monotonic clock, standing still until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the window sees."""
    return Clock(monkeypatch)


@pytest.mark.parametrize("least", [3, 5])
def test_it_opens_by_so_many_failures(least: int) -> None:
    """Not by fewer; and who opened it hears so, once."""
    breaker = Breaker(least=least)
    assert [False] * (least - 1) + [True, False] == [breaker.failed() for _ in range(least + 1)]
    assert (False, "open") == (breaker.closed, breaker.state)


def test_failures_among_many_good_calls() -> None:
    """A third of the calls fails, for as long as one likes."""
    breaker = Breaker()
    for number in range(1000):
        if number % 3 == 1:
            assert not breaker.failed()
        else:
            breaker.succeeded()
    assert breaker.closed


def test_half_of_the_calls_fail() -> None:
    """That is enough, with the fifth failure; it is not where a share of nearly all is asked for."""
    breakers = Breaker(), Breaker(share=0.9)
    for _ in range(5):
        for breaker in breakers:
            breaker.succeeded()
            breaker.failed()
    assert [False, True] == [breaker.closed for breaker in breakers]


def test_what_was_well_for_long(clock: Clock) -> None:
    """A thousand good calls before the first failure do not hide the next ones; nor do those since, beyond twenty."""
    breaker = Breaker()
    for _ in range(1000):
        breaker.succeeded()
    assert [False] * 4 + [True] == [breaker.failed() for _ in range(5)]
    breaker = Breaker()
    breaker.failed()
    for _ in range(1000):
        breaker.succeeded()
    failures = 0
    while breaker.closed:
        breaker.failed()
        failures += 1
    assert MOST // 2 == failures


def test_failures_are_forgotten(clock: Clock) -> None:
    """Five within ten seconds count, five in a day do not."""
    breaker = Breaker()
    for _ in range(20):
        assert not breaker.failed()
        clock.now += WITHIN_S / 3.9
    clock.now += WITHIN_S + 1
    breaker.succeeded()
    assert [False] * 4 + [True] == [breaker.failed() for _ in range(5)]


def test_it_opens_at_once_where_the_cause_is_certain() -> None:
    """A server that is not there will not be there for the next call."""
    assert Breaker().failed(certain=True)


def test_it_stays_open_until_a_probe_is_answered() -> None:
    """While it is tried, and when that fails, nobody's call goes there; then all do, and the past is forgotten."""
    breaker = Breaker()
    breaker.failed(certain=True)
    breaker.probing()
    assert (False, "half-open") == (breaker.closed, breaker.state)
    breaker.still_failing()
    assert (False, "open") == (breaker.closed, breaker.state)
    breaker.probing()
    breaker.close()
    assert (True, "closed") == (breaker.closed, breaker.state)
    assert [False] * 4 == [breaker.failed() for _ in range(4)]
