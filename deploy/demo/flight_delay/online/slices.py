"""Cuts a replay into slices: within one everything may happen at once, one after another nothing is ever early or late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from deploy.demo.flight_delay.replay import Departure, Updates


@dataclass
class Slice:
    """Consecutive departures that read the same state, and the updates that make it: what became known just before.

    All updates must have been applied before the first departure is asked, and the last one answered before the next
    slice begins.
    """

    updates: list[Updates] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)


def slices(events: Iterable[Updates | Departure]) -> Iterator[Slice]:
    """Yield the events as slices, each in order. Updates that no departure follows are left out: nobody can see them."""
    current = Slice()
    for event in events:
        if isinstance(event, Departure):
            current.departures.append(event)
            continue
        if current.departures:
            yield current
            current = Slice()
        current.updates.append(event)
    if current.departures:
        yield current
