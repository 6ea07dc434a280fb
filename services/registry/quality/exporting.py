"""Predictions that were kept with their features, read in pages, so that writes need not wait for long."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.registry.quality.records import ExportedPrediction, Outcome, PredictionRecord
from services.registry.quality.tables import listed, read_series, unpack_scores

PAGE_PREDICTIONS = 500


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of predictions begins: after this one. Before the first of a time, the number is 0."""

    as_of_us: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Some predictions by as_of, and the place at which they end; None if there are no more."""

    predictions: Sequence[ExportedPrediction]
    end: Place | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which predictions: those of as_of before a time, all or only those that have an outcome of each row."""

    endpoint: str
    end_us: int
    labelled_only: bool


def exported(connection: sqlite3.Connection, selection: Selection, after: Place, max_bytes: int) -> ExportPage:
    """A page of about `max_bytes` of features, perhaps empty though more follow."""
    chosen: list[int] = []
    size, end = 0, None
    for as_of_us, number, length, labelled in _candidates(connection, selection, after):
        if labelled or not selection.labelled_only:
            if chosen and size + length > max_bytes:
                break
            chosen.append(number)
            size += length
        end = Place(as_of_us, number)
    return ExportPage(_predictions(connection, chosen), end)


def _candidates(connection: sqlite3.Connection, selection: Selection, after: Place) -> list[tuple[int, int, int, int]]:
    return connection.execute(
        "SELECT f.as_of_us, f.number, length(f.features), p.scored_rows > 0 AND p.scored_rows ="
        " (SELECT count(*) FROM outcomes o WHERE o.number = f.number)"
        " FROM features f JOIN predictions p ON p.number = f.number"
        " WHERE f.endpoint = ? AND (f.as_of_us, f.number) > (?, ?) AND f.as_of_us < ?"
        " ORDER BY f.as_of_us, f.number LIMIT ?",
        (selection.endpoint, after.as_of_us, after.number, selection.end_us, PAGE_PREDICTIONS),
    ).fetchall()


def _predictions(connection: sqlite3.Connection, numbers: list[int]) -> list[ExportedPrediction]:
    outcomes: dict[int, list[tuple[int, float, int]]] = {}
    for number, row, label, time_us in connection.execute(
        "SELECT number, row, label, time_us FROM outcomes WHERE number IN (SELECT value FROM json_each(?))"
        " ORDER BY number, row",
        (listed(numbers),),
    ):
        outcomes.setdefault(number, []).append((row, label, time_us))
    rows = connection.execute(
        "SELECT p.number, p.prediction_id, p.as_of_us, p.scores, p.expire_us, f.features,"
        " s.endpoint, s.model, s.version, s.release_id, s.step, s.kind FROM json_each(?) asked"
        " CROSS JOIN predictions p ON p.number = asked.value JOIN series s ON s.id = p.series"
        " JOIN features f ON f.number = p.number ORDER BY asked.key",
        (listed(numbers),),
    )
    return [_exported(values, outcomes.get(number, [])) for number, *values in rows]


def _exported(values: list[Any], outcomes: list[tuple[int, float, int]]) -> ExportedPrediction:
    name, as_of_us, scores, expire_us, features, *series = values
    prediction = PredictionRecord(name, read_series(series), as_of_us, unpack_scores(scores), expire_us, features)
    return ExportedPrediction(prediction, tuple(Outcome(name, *outcome) for outcome in outcomes))
