"""How long calls of a replica are said to take."""

from __future__ import annotations

import pytest

from services.mesh.pace import HALF_LIFE_S, Pace


def test_first_call_tells_the_pace() -> None:
    """One call is better than nothing."""
    pace = Pace()
    assert 0 == pace.seconds(1.0)
    pace.took(0.5, 1.0)
    assert 0.5 == pace.seconds(1.0)


def test_pace_follows_calls() -> None:
    """A replica that has become slow, or quick again, is known for it after a few calls."""
    pace = Pace()
    for seconds in (0.01, 1.0, 0.01):
        for _ in range(20):
            pace.took(seconds, 1.0)
        assert pytest.approx(seconds, rel=0.1) == pace.seconds(1.0)


def test_pace_fades() -> None:
    """What was slow long ago may be quick by now."""
    pace = Pace()
    pace.took(1.0, 1.0)
    assert pytest.approx(0.5) == pace.seconds(1.0 + HALF_LIFE_S)
    assert pace.seconds(1.0 + 10 * HALF_LIFE_S) < 0.001


def test_call_that_was_not_answered_tells_that_it_took_longer() -> None:
    """It never makes a replica look quicker than it is."""
    pace = Pace()
    pace.took(0.5, 1.0)
    pace.took_at_least(0.1, 60.0)
    assert 0.5 == pace.seconds(60.0)
    pace.took_at_least(1.0, 60.0)
    assert 1.0 == pace.seconds(60.0)
