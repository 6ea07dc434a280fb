"""Cutting a replay into what may happen at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.flight_delay.online.slices import slices
from deploy.demo.flight_delay.replay import Departure, Updates


def _event(number: int, *, is_departure: bool) -> Updates | Departure:
    """An event that can be told from the others."""
    if is_departure:
        return Departure(entities={}, features={}, as_of=number, departed=number, late=False, scores={})
    return Updates(view="v", keys={}, values={}, event_time=np.array([number], np.int64))


events = st.lists(st.booleans()).map(
    lambda kinds: [_event(number, is_departure=kind) for number, kind in enumerate(kinds)]
)


@given(events)
def test_slices_in_their_order_are_the_replay(replay: list[Updates | Departure]) -> None:
    """Nothing is moved, lost or doubled, but for updates at the end, which nobody can see."""
    played = [event for part in slices(replay) for event in (*part.updates, *part.departures)]

    while replay and isinstance(replay[-1], Updates):
        replay.pop()
    assert [id(event) for event in replay] == [id(event) for event in played]


@given(events)
def test_departures_go_together_exactly_while_nothing_becomes_known(replay: list[Updates | Departure]) -> None:
    """A slice has a departure, and each but the first begins with an update: none could be joined to the one before."""
    parts = list(slices(replay))
    assert all(part.departures for part in parts)
    assert all(part.updates for part in parts[1:])
