"""Outcomes are recorded and counted, within a transaction of the caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality.counts import Counts, counted, merged, nothing, pack, unpack
from services.registry.quality.records import Outcome, OutcomeResult, hour_of
from services.registry.quality.settling import Kept, settle
from services.registry.quality.tables import listed, unpack_scores


def claim(connection: sqlite3.Connection, outcomes: Sequence[Outcome], now_us: int) -> list[OutcomeResult]:
    """Record what has not been recorded, and answer what becomes of each."""
    kept = _kept(connection, {outcome.prediction_id for outcome in outcomes})
    settlement = settle(outcomes, kept, _labels(connection, outcomes, kept), now_us)
    connection.executemany(
        "INSERT INTO outcomes VALUES (?, ?, ?, ?)",
        [(each.number, each.row, each.label, each.time_us) for each in settlement.claims],
    )
    kinds = {each.series: each.kind for each in kept.values()}
    totals: dict[int, Counts] = {}
    for (series, hour), pairs in settlement.pairs.items():
        counts = counted(pairs, kinds[series])
        _count_hour(connection, series, hour, kinds[series], counts)
        totals[series] = merged(totals.get(series, nothing(kinds[series])), counts)
    for series, counts in totals.items():
        _count_series(connection, series, kinds[series], counts)
    return settlement.results


def _kept(connection: sqlite3.Connection, prediction_ids: Iterable[str]) -> dict[str, Kept]:
    found = {}
    for name in prediction_ids:
        row = connection.execute(
            "SELECT p.number, p.series, p.as_of_us, s.kind, p.scores, p.expire_us FROM predictions p"
            " JOIN series s ON s.id = p.series WHERE p.prediction_id = ?",
            (name,),
        ).fetchone()
        if row is not None:
            number, series, as_of_us, kind, scores, expire_us = row
            found[name] = Kept(number, series, hour_of(as_of_us), OutcomeKind(kind), unpack_scores(scores), expire_us)
    return found


def _labels(
    connection: sqlite3.Connection, outcomes: Sequence[Outcome], kept: Mapping[str, Kept]
) -> dict[tuple[int, int], float]:
    """What is recorded of the rows that the outcomes are of."""
    asked = [(kept[each.prediction_id].number, each.row) for each in outcomes if each.prediction_id in kept]
    rows = connection.execute(
        "SELECT o.number, o.row, o.label FROM json_each(?) asked"
        " JOIN outcomes o ON o.number = asked.value ->> 0 AND o.row = asked.value ->> 1",
        (listed(asked),),
    )
    return {(number, row): label for number, row, label in rows}


def _count_hour(connection: sqlite3.Connection, series: int, hour: int, kind: OutcomeKind, more: Counts) -> None:
    (data,) = connection.execute("SELECT counts FROM hours WHERE series = ? AND hour = ?", (series, hour)).fetchone()
    counts = merged(unpack(data, kind), more)
    connection.execute(
        "UPDATE hours SET outcomes = ?, counts = ? WHERE series = ? AND hour = ?",
        (counts.n, pack(counts), series, hour),
    )


def _count_series(connection: sqlite3.Connection, series: int, kind: OutcomeKind, more: Counts) -> None:
    (data,) = connection.execute("SELECT counts FROM series WHERE id = ?", (series,)).fetchone()
    counts = merged(unpack(data, kind), more)
    connection.execute("UPDATE series SET counts = ? WHERE id = ?", (pack(counts), series))
