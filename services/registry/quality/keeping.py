"""Predictions come and go, each within a transaction of the caller."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence

from services.registry.quality.records import PredictionRecord, Series, hour_of
from services.registry.quality.tables import SERIES, listed, pack_scores


def belong(connection: sqlite3.Connection, log_id: str) -> None:
    """Note the log that releases are numbered by; those of another log mean nothing in this one."""
    if connection.execute("SELECT log_id FROM log").fetchone() == (log_id,):
        return
    connection.execute("UPDATE series SET release_id = 0")
    connection.execute("DELETE FROM log")
    connection.execute("INSERT INTO log VALUES (?)", (log_id,))


def keep(connection: sqlite3.Connection, records: Sequence[PredictionRecord]) -> int:
    """Keep those whose names are new, and return how many; of a name in the batch twice, the first."""
    fresh: dict[str, PredictionRecord] = {}
    for record in records:
        if record.prediction_id not in fresh and not _is_known(connection, record.prediction_id):
            fresh[record.prediction_id] = record
    if not fresh:
        return 0
    arrived = list(fresh.values())
    series = {each: _series_id(connection, each) for each in {record.series for record in arrived}}
    _insert(connection, arrived, series)
    _count_rows(connection, arrived, series)
    connection.execute("UPDATE kept SET predictions = predictions + ?", (len(arrived),))
    return len(arrived)


def forget_oldest(connection: sqlite3.Connection, count: int) -> int:
    """Delete the `count` predictions that came first; return how many there were."""
    return _forget(connection, "SELECT number FROM predictions ORDER BY number LIMIT ?", (count,))


def forget_expired(connection: sqlite3.Connection, now_us: int, limit: int) -> int:
    """Delete up to `limit` predictions whose outcomes may come no more; return how many there were."""
    statement = "SELECT number FROM predictions WHERE expire_us <= ? ORDER BY expire_us LIMIT ?"
    return _forget(connection, statement, (now_us, limit))


def kept(connection: sqlite3.Connection) -> int:
    """How many predictions are there."""
    (count,) = connection.execute("SELECT predictions FROM kept").fetchone()
    return int(count)


def _is_known(connection: sqlite3.Connection, prediction_id: str) -> bool:
    found = connection.execute("SELECT 1 FROM predictions WHERE prediction_id = ?", (prediction_id,))
    return found.fetchone() is not None


def _series_id(connection: sqlite3.Connection, series: Series) -> int:
    values = (series.endpoint, series.model, series.version, series.release_id, series.step, series.kind.value)
    found = connection.execute(
        f"SELECT id FROM series WHERE ({SERIES}) = (?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
        values,
    ).fetchone()
    if found is None:
        found = connection.execute(
            f"INSERT INTO series ({SERIES}) VALUES (?, ?, ?, ?, ?, ?) RETURNING id",  # noqa: S608 - a constant
            values,
        ).fetchone()
    return int(found[0])


def _insert(connection: sqlite3.Connection, records: Sequence[PredictionRecord], series: Mapping[Series, int]) -> None:
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM predictions").fetchone()
    numbered = list(enumerate(records, last + 1))
    connection.executemany(
        "INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                number,
                record.prediction_id,
                series[record.series],
                record.as_of_us,
                record.expire_us,
                record.scored_rows,
                pack_scores(record.scores),
            )
            for number, record in numbered
        ],
    )
    connection.executemany(
        "INSERT INTO features VALUES (?, ?, ?, ?)",
        [
            (number, record.series.endpoint, record.as_of_us, record.features)
            for number, record in numbered
            if record.features is not None
        ],
    )


def _count_rows(
    connection: sqlite3.Connection, records: Sequence[PredictionRecord], series: Mapping[Series, int]
) -> None:
    rows: Counter[tuple[int, int]] = Counter()
    for record in records:
        rows[series[record.series], hour_of(record.as_of_us)] += record.scored_rows
    connection.executemany(
        "INSERT INTO hours (series, hour, predictions) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET predictions = predictions + excluded.predictions",
        [(*key, count) for key, count in rows.items()],
    )


def _forget(connection: sqlite3.Connection, statement: str, parameters: tuple[int, ...]) -> int:
    numbers = [number for (number,) in connection.execute(statement, parameters)]
    if not numbers:
        return 0
    for table in ("outcomes", "features", "predictions"):
        connection.execute(
            f"DELETE FROM {table} WHERE number IN (SELECT value FROM json_each(?))",  # noqa: S608 - one of the three
            (listed(numbers),),
        )
    connection.execute("UPDATE kept SET predictions = predictions - ?", (len(numbers),))
    return len(numbers)
