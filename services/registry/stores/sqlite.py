"""A log in one SQLite file: what was acknowledged is there after a kill or a power cut."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from services.mesh.errors import StoreUnavailable
from services.registry.changes import Event
from services.registry.errors import RevisionConflict
from services.registry.stores import check_numbers

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FORMAT = 1
_MAX_INTEGER = 2**63 - 1
_SETUP = """
CREATE TABLE log (log_id TEXT NOT NULL) STRICT;
CREATE TABLE events (
  revision INTEGER PRIMARY KEY,
  time_us INTEGER NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  type TEXT NOT NULL,
  payload TEXT NOT NULL
) STRICT;
"""


class SqliteEventStore:
    """The log of an open connection, used by one thread of its own so that the event loop never waits for a disk."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, log_id: str) -> None:
        self._connection = connection
        self._thread = thread
        self.log_id = log_id

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[SqliteEventStore]:
        """Open the file, made if it is not there. It is ours alone: a second process gets StoreUnavailable."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry-log") as thread:
            try:
                connection, log_id = await loop.run_in_executor(thread, _connect, path)
            except (sqlite3.Error, OSError) as error:
                raise StoreUnavailable(f"the log {path.name} cannot be opened: {error}") from error
            try:
                yield cls(connection, thread, log_id)
            finally:
                await loop.run_in_executor(thread, connection.close)

    async def append(self, expected_revision: int, events: Sequence[Event]) -> None:
        """Write the events in one transaction, synced to disk."""
        check_numbers(expected_revision, events)
        await self._run(lambda: self._append(expected_revision, events))

    async def read(self, after: int, limit: int) -> list[Event]:
        """Read by the primary key."""
        return await self._run(lambda: self._read(after, limit))

    async def last_revision(self) -> int:
        """Read the largest key."""
        return await self._run(self._last_revision)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise StoreUnavailable("the log does not answer") from error

    def _append(self, expected_revision: int, events: Sequence[Event]) -> None:
        rows = [
            (each.revision, (each.time - _EPOCH) // _MICROSECOND, each.actor, each.reason, each.type, each.payload)
            for each in events
        ]
        with _transaction(self._connection):
            last = self._last_revision()
            if last != expected_revision:
                raise RevisionConflict(f"the log is at revision {last}, not {expected_revision}", revision=last)
            self._connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)

    def _read(self, after: int, limit: int) -> list[Event]:
        rows = self._connection.execute(
            "SELECT revision, time_us, actor, reason, type, payload FROM events"
            " WHERE revision > ? ORDER BY revision LIMIT ?",
            (min(after, _MAX_INTEGER), limit),
        )
        return [Event(revision, _EPOCH + time_us * _MICROSECOND, *texts) for revision, time_us, *texts in rows]

    def _last_revision(self) -> int:
        (last,) = self._connection.execute("SELECT coalesce(max(revision), 0) FROM events").fetchone()
        return int(last)


def _connect(path: Path) -> tuple[sqlite3.Connection, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        return connection, _set_up(connection)
    except BaseException:
        connection.close()
        raise


def _set_up(connection: sqlite3.Connection) -> str:
    """Make the tables if there are none, and answer the log's id."""
    # Held from the first write to the end, so that a log never has two writers; before WAL, it needs no shared memory.
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in {0, _FORMAT}:
        raise sqlite3.DatabaseError(f"its format {version} is of another release; this one reads {_FORMAT}")
    connection.execute("PRAGMA journal_mode=WAL")
    # FULL syncs at each commit; WAL's default would lose the last ones with the power.
    connection.execute("PRAGMA synchronous=FULL")
    with _transaction(connection):
        if version == 0:
            for statement in filter(str.strip, _SETUP.split(";")):
                connection.execute(statement)
            connection.execute("INSERT INTO log VALUES (?)", (uuid.uuid4().hex,))
            connection.execute(f"PRAGMA user_version={_FORMAT}")
    (log_id,) = connection.execute("SELECT log_id FROM log").fetchone()
    return str(log_id)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All statements or none; it takes the lock at once, so that what it reads still holds when it writes."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A failed COMMIT may have rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
