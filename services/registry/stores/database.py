"""One SQLite file, used by one thread of its own, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from services.mesh.errors import StoreUnavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


@dataclass(frozen=True, slots=True)
class Schema:
    """Statements that make the tables of a new file, and the number of this format: a file of another is refused.

    What is committed survives a kill of the process; with `synced` a power cut, too.
    """

    format: int
    statements: tuple[str, ...]
    synced: bool


class Database:
    """An open file. Failures of SQLite are StoreUnavailable; then a write may or may not have happened."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, name: str) -> None:
        self._connection = connection
        self._thread = thread
        self._name = name

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, schema: Schema) -> AsyncIterator[Database]:
        """Open the file, made if it is not there. It is ours alone: a second process gets StoreUnavailable."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix=path.stem) as thread:
            try:
                connection = await loop.run_in_executor(thread, _connect, path, schema)
            except (sqlite3.Error, OSError) as error:
                raise StoreUnavailable(f"{path.name} cannot be opened: {error}") from error
            try:
                yield cls(connection, thread, path.name)
            finally:
                await loop.run_in_executor(thread, connection.close)

    async def read(self, work: Work[T]) -> T:
        """Do what only reads."""
        return await self._run(lambda: work(self._connection))

    async def write(self, work: Work[T]) -> T:
        """Do all of it in one transaction, or nothing."""

        def within() -> T:
            with _transaction(self._connection):
                return work(self._connection)

        return await self._run(within)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._name} does not answer") from error


def _connect(path: Path, schema: Schema) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        _set_up(connection, schema)
        return connection
    except BaseException:
        connection.close()
        raise


def _set_up(connection: sqlite3.Connection, schema: Schema) -> None:
    # Held from the first write to the end, so that a file never has two writers; before WAL, it needs no shared memory.
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in {0, schema.format}:
        raise sqlite3.DatabaseError(f"its format {version} is of another release; this one reads {schema.format}")
    connection.execute("PRAGMA journal_mode=WAL")
    # FULL syncs at each commit; NORMAL would lose the last ones with the power.
    connection.execute(f"PRAGMA synchronous={'FULL' if schema.synced else 'NORMAL'}")
    with _transaction(connection):
        if version == 0:
            for statement in schema.statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={schema.format}")


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
