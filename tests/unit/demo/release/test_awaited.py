"""Predictions whose flights have not left yet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.flight_delay.release.awaited import Awaited
from deploy.demo.flight_delay.replay import Departure


def departure(departed: int, *, late: bool = False) -> Departure:
    """A departure of which only the end matters."""
    return Departure(entities={}, features={}, as_of=0, departed=departed, late=late, scores={})


def test_what_came_true_is_known_from_the_minute_in_which_a_flight_leaves() -> None:
    """Not before, and then once."""
    awaited = Awaited()
    awaited.add("a", departure(100, late=True))
    assert [] == awaited.departed(99)
    assert 1 == len(awaited)
    assert [(100, "a", True)] == awaited.departed(100)
    assert [] == awaited.departed(1_000)
    assert 0 == len(awaited)


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 50)).map(sorted))
def test_every_flight_is_told_once_in_the_order_in_which_they_leave(departed: list[int], looks: list[int]) -> None:
    """However often one looks, and in whatever order they were predicted."""
    awaited = Awaited()
    for number, moment in enumerate(departed):
        awaited.add(str(number), departure(moment))
    told = [outcome for now in [*looks, 50] for outcome in awaited.departed(now)]
    assert sorted(departed) == [moment for moment, _, _ in told]
    assert {str(number) for number in range(len(departed))} == {name for _, name, _ in told}
