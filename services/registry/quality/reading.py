"""What predictions and outcomes add up to, read in pages, so that writes need not wait for long."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality.counts import Counts, unpack
from services.registry.quality.records import Series
from services.registry.quality.tables import SERIES, read_series

PAGE_HOURS = 500


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of a series: rows that can have an outcome, and what those that have one amount to."""

    hour: int
    predictions: int
    counts: Counts


def series_of(connection: sqlite3.Connection, endpoint: str) -> list[tuple[int, Series]]:
    """Every series of the endpoint with its number, the oldest first."""
    rows = connection.execute(
        f"SELECT id, {SERIES} FROM series WHERE endpoint = ? ORDER BY id",  # noqa: S608 - a constant
        (endpoint,),
    )
    return [(number, read_series(values)) for number, *values in rows]


def step_counts(connection: sqlite3.Connection, endpoint: str, release_id: int) -> dict[tuple[int, str], Counts]:
    """What the outcomes of a release amount to, by step and version. Of labels of two kinds the latest count."""
    rows = connection.execute(
        "SELECT step, version, kind, counts FROM series"
        " WHERE endpoint = ? AND release_id = ? AND counts IS NOT NULL ORDER BY id",
        (endpoint, release_id),
    )
    return {(step, version): unpack(data, OutcomeKind(kind)) for step, version, kind, data in rows}


def newest_hour(connection: sqlite3.Connection, endpoint: str) -> int | None:
    """The newest hour of the endpoint that has outcomes."""
    (hour,) = connection.execute(
        "SELECT max((SELECT hour FROM hours WHERE series = s.id AND outcomes > 0 ORDER BY hour DESC LIMIT 1))"
        " FROM series s WHERE s.endpoint = ?",
        (endpoint,),
    ).fetchone()
    return None if hour is None else int(hour)


def hours(connection: sqlite3.Connection, series: int, kind: OutcomeKind, first: int, last: int) -> Sequence[Hour]:
    """The hours of a series from `first` to `last`, ascending; at most a page of them."""
    rows = connection.execute(
        "SELECT hour, predictions, counts FROM hours WHERE series = ? AND hour BETWEEN ? AND ? ORDER BY hour LIMIT ?",
        (series, first, last, PAGE_HOURS),
    )
    return [Hour(hour, predictions, unpack(data, kind)) for hour, predictions, data in rows]
