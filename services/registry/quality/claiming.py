"""Outcomes are recorded and counted, within a transaction of the caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality.counts import counted, merged, pack, unpack
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
    for (series, hour), pairs in settlement.pairs.items():
        _count(connection, series, hour, kinds[series], pairs)
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


def _count(
    connection: sqlite3.Connection, series: int, hour: int, kind: OutcomeKind, pairs: Sequence[tuple[float, float]]
) -> None:
    (data,) = connection.execute("SELECT counts FROM hours WHERE series = ? AND hour = ?", (series, hour)).fetchone()
    counts = merged(unpack(data, kind), counted(pairs, kind))
    connection.execute(
        "UPDATE hours SET outcomes = ?, counts = ? WHERE series = ? AND hour = ?",
        (counts.n, pack(counts), series, hour),
    )
