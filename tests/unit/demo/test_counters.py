"""Decayed counters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.flight_delay.counters import LatenessCounters

HOUR_S = 3600
events = st.lists(st.tuples(st.integers(0, 10**12), st.booleans(), st.integers(-60, 1500)), min_size=1, max_size=30)


@given(events)
def test_state_is_the_sum_of_all_events_each_decayed_by_its_own_age(history: list[tuple[int, bool, int]]) -> None:
    """One state in constant space equals the sum over the whole history."""
    history.sort(key=lambda event: event[0])
    counters = LatenessCounters([HOUR_S, 24 * HOUR_S])
    states = [counters.add("EWR", *event) for event in history]
    now = history[-1][0]
    expected = []
    for half_life in (HOUR_S, 24 * HOUR_S):
        kept = [0.5 ** ((now - time) / 1e6 / half_life) for time, _, _ in history]
        expected += [
            sum(k * late for k, (_, late, _) in zip(kept, history, strict=True)),
            sum(k * min(delay, 180) for k, (_, _, delay) in zip(kept, history, strict=True)),
            sum(kept),
        ]
    assert expected == pytest.approx(states[-1], rel=1e-9, abs=1e-6)


def test_keys_do_not_share_a_state() -> None:
    """A late departure of one airport leaves another's counters alone."""
    counters = LatenessCounters([HOUR_S])
    counters.add("EWR", 0, True, 90)
    assert [0.0, 3.0, 1.0] == counters.add("JFK", 0, False, 3)


def test_a_half_life_later_half_is_left() -> None:
    """The state is decayed to the time of the new event before that is added."""
    counters = LatenessCounters([HOUR_S])
    counters.add("EWR", 0, True, 500)
    assert [0.5, 90.0, 1.5] == pytest.approx(counters.add("EWR", HOUR_S * 1_000_000, False, 0))
