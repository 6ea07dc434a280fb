from __future__ import annotations

import pytest

from services.model.breaker import Breaker


def test_it_opens_after_three_failures_that_are_half_of_what_came() -> None:
    """Fewer, or fewer among many good ones, are no reason."""
    breaker = Breaker()
    assert [False, False, True] == [breaker.failed(certain=False) for _ in range(3)]
    assert (False, "open") == (breaker.closed, breaker.state)
    breaker = Breaker()
    breaker.failed(certain=False)
    for _ in range(10):
        breaker.succeeded()
    assert [False] * 5 == [breaker.failed(certain=False) for _ in range(5)]
    assert breaker.closed


def test_it_opens_at_once_where_the_cause_is_certain() -> None:
    """A server that is not there will not be there for the next batch."""
    assert Breaker().failed(certain=True)


def test_failures_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three within ten seconds count, three in a day do not."""
    now = 100.0
    monkeypatch.setattr("services.model.breaker.time.monotonic", lambda: now)
    breaker = Breaker()
    for _ in range(5):
        assert not breaker.failed(certain=False)
        now += 6


def test_it_says_when_the_runtime_is_being_tried() -> None:
    """Batches go there only when the try has succeeded."""
    breaker = Breaker()
    breaker.failed(certain=True)
    breaker.probing()
    assert (False, "half-open") == (breaker.closed, breaker.state)
    breaker.still_failing()
    assert (False, "open") == (breaker.closed, breaker.state)
    breaker.probing()
    breaker.close()
    assert (True, "closed") == (breaker.closed, breaker.state)
    assert not breaker.failed(certain=False)
