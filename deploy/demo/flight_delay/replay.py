"""Plays the test window back in the order of time: what became known, then who asked.

Needs nothing but numpy and the recording, so that it starts at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[Any]]

T = TypeVar("T")


@dataclass(frozen=True)
class Updates:
    """Rows of one view by event time (microseconds). A key may occur again, with a later event time."""

    view: str
    keys: Columns
    values: dict[str, NDArray[np.float32]]
    event_time: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.event_time)

    def rows(self, start: int, stop: int) -> Updates:
        """The rows from start to before stop."""
        part = slice(start, stop)
        keys = {name: column[part] for name, column in self.keys.items()}
        values = {name: column[part] for name, column in self.values.items()}
        return Updates(self.view, keys, values, self.event_time[part])


@dataclass(frozen=True)
class Departure:
    """One departure to predict at as_of, whether it then left late, when (departed), and each version's offline score.

    Times are microseconds; whether it is late is known from the moment it left.
    """

    entities: dict[str, str | int]
    features: dict[str, float]
    as_of: int
    departed: int
    late: bool
    scores: dict[str, float]


class Recording:
    """The recorded test window.

    Raises OSError when the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self._arrays: Columns = dict(file)
        names = [name.split("/") for name in self._arrays]
        self._views = tuple(dict.fromkeys(name[1] for name in names if name[0] == "state"))

    def __len__(self) -> int:
        """Departures in the whole window."""
        return len(self._arrays["departures/as_of"])

    def offline(self) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.float32]]]:
        """Whether each departure of the window was late, and each version's offline scores of them all."""
        return self._arrays["departures/late"], self._columns("departures/score:")

    def initial_state(self) -> tuple[Updates, ...]:
        """The rows in the store when the window starts, one batch per view, each key once."""
        return tuple(self._view("state", view) for view in self._views)

    def replay(self, window: int, start: int = 0) -> Iterator[Updates | Departure]:
        """The first departures of the window, each after every update known by its as_of; those before `start` left out.

        Updates come as late as they can: in front of the first departure that may see them, one batch per view. Those
        that a departure before `start` may see are left out with it.
        """
        as_of = self._arrays["departures/as_of"][:window]
        moments, first = np.unique(as_of, return_index=True)
        following = [*first[1:], len(as_of)]
        batches = [_by_moment(self._view("updates", view), moments) for view in self._views]
        for begin, end, *known in zip(first, following, *batches, strict=True):
            if begin >= start:
                yield from (updates for updates in known if len(updates))
            if end > start:
                yield from self._departures(max(begin, start), end)

    def _departures(self, start: int, stop: int) -> Iterator[Departure]:
        columns = {name: column[start:stop].tolist() for name, column in self._columns("departures/").items()}
        for row in zip(*columns.values(), strict=True):
            cells = dict(zip(columns, row, strict=True))
            yield Departure(
                entities=_having(cells, "entity:"),
                features=_having(cells, "request:"),
                as_of=cells["as_of"],
                departed=cells["departed"],
                late=cells["late"],
                scores=_having(cells, "score:"),
            )

    def _view(self, kind: str, view: str) -> Updates:
        columns = self._columns(f"{kind}/{view}/")
        return Updates(view, _having(columns, "key:"), _having(columns, "field:"), columns["event_time"])

    def _columns(self, prefix: str) -> Columns:
        return _having(self._arrays, prefix)


def _having(entries: dict[str, T], prefix: str) -> dict[str, T]:
    return {name.removeprefix(prefix): entry for name, entry in entries.items() if name.startswith(prefix)}


def _by_moment(updates: Updates, moments: NDArray[np.int64]) -> Iterator[Updates]:
    """What became known by each moment and not by the one before."""
    stops = np.searchsorted(updates.event_time, moments, side="right")
    for start, stop in zip([0, *stops[:-1]], stops, strict=True):
        yield updates.rows(start, stop)
