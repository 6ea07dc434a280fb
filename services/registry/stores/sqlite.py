"""A log in one SQLite file: what was acknowledged is there after a kill or a power cut."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.registry.changes import Event
from services.registry.errors import RevisionConflict
from services.registry.stores import check_numbers
from services.registry.stores.database import Database, Schema

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_INTEGER = 2**63 - 1
_TABLES = (
    "CREATE TABLE log (log_id TEXT NOT NULL) STRICT",
    """
    CREATE TABLE events (
      revision INTEGER PRIMARY KEY,
      time_us INTEGER NOT NULL,
      actor TEXT NOT NULL,
      reason TEXT NOT NULL,
      type TEXT NOT NULL,
      payload TEXT NOT NULL
    ) STRICT
    """,
)


class SqliteEventStore:
    """The log of an open database."""

    def __init__(self, database: Database, log_id: str) -> None:
        self._database = database
        self.log_id = log_id

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[SqliteEventStore]:
        """Open the file, made if it is not there. It is ours alone: a second process gets StoreUnavailable."""
        async with Database.open(path, Schema(1, _TABLES, synced=True)) as database:
            yield cls(database, await database.write(_log_id))

    async def append(self, expected_revision: int, events: Sequence[Event]) -> None:
        """Write the events in one transaction, synced to disk."""
        check_numbers(expected_revision, events)
        rows = [
            (each.revision, (each.time - _EPOCH) // _MICROSECOND, each.actor, each.reason, each.type, each.payload)
            for each in events
        ]

        def insert(connection: sqlite3.Connection) -> None:
            last = _last_revision(connection)
            if last != expected_revision:
                raise RevisionConflict(f"the log is at revision {last}, not {expected_revision}", revision=last)
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)

        await self._database.write(insert)

    async def read(self, after: int, limit: int) -> list[Event]:
        """Read by the primary key."""

        def select(connection: sqlite3.Connection) -> list[Event]:
            rows = connection.execute(
                "SELECT revision, time_us, actor, reason, type, payload FROM events"
                " WHERE revision > ? ORDER BY revision LIMIT ?",
                (min(after, _MAX_INTEGER), limit),
            )
            return [Event(revision, _EPOCH + time_us * _MICROSECOND, *texts) for revision, time_us, *texts in rows]

        return await self._database.read(select)

    async def last_revision(self) -> int:
        """Read the largest key."""
        return await self._database.read(_last_revision)


def _log_id(connection: sqlite3.Connection) -> str:
    """The log's id, given when it is first opened."""
    found = connection.execute("SELECT log_id FROM log").fetchone()
    if found is None:
        found = (uuid.uuid4().hex,)
        connection.execute("INSERT INTO log VALUES (?)", found)
    return str(found[0])


def _last_revision(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute("SELECT coalesce(max(revision), 0) FROM events").fetchone()
    return int(last)
