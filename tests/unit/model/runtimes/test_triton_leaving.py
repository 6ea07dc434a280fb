"""Calls at Triton that nobody waits for: cancelled, but not as they are answered."""

from __future__ import annotations

import pytest

from services.model.runtimes.triton_leaving import LEAST_S, MOST_S, Leaving


@pytest.mark.parametrize(
    ("usual_s", "passed_s", "expected"),
    [
        (0.002, 0.001, LEAST_S),
        (0.002, 60.0, LEAST_S),
        (0.2, 0.05, 0.0),
        (0.2, 0.15, 1.85),
        (0.2, 0.25, 1.75),
        (0.2, 3.0, LEAST_S),
        (60.0, 1.0, 0.0),
        (60.0, 50.0, MOST_S),
    ],
)
def test_by_how_long_calls_take(usual_s: float, passed_s: float, expected: float) -> None:
    """One with long to go is cancelled at once, one that may be answered any moment is let end, an overdue one is not."""
    leaving = Leaving()
    for _ in range(5):
        leaving.answered(usual_s)
    assert pytest.approx(expected, rel=0.1) == leaving.let_end_s(passed_s)


def test_calls_of_which_nothing_is_known() -> None:
    """They may end at any moment."""
    assert (MOST_S, 0.0) == (Leaving().let_end_s(0.0), Leaving().computed_in_s(0.0))


def test_a_cancelled_call_is_computed_for_as_long_as_others() -> None:
    """Until then nothing is sent ahead."""
    leaving = Leaving()
    leaving.answered(2.0)
    assert (1.5, 0.0) == (leaving.computed_in_s(0.5), leaving.computed_in_s(2.5))
