"""The newest totals of each gateway process, in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, TypeAdapter

from services.registry.stores.database import Database, Schema
from services.registry.totals import ArmTotals, ShadowTotals

_TABLES = (
    "CREATE TABLE log (log_id TEXT NOT NULL) STRICT",
    """
    CREATE TABLE arms (
      endpoint TEXT NOT NULL,
      release_id INTEGER NOT NULL,
      step INTEGER NOT NULL,
      version TEXT NOT NULL,
      instance_id TEXT NOT NULL,
      sequence INTEGER NOT NULL,
      totals TEXT NOT NULL,
      PRIMARY KEY (endpoint, release_id, step, version, instance_id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE shadows (
      endpoint TEXT NOT NULL,
      primary_version TEXT NOT NULL,
      shadow_version TEXT NOT NULL,
      instance_id TEXT NOT NULL,
      sequence INTEGER NOT NULL,
      report_time REAL NOT NULL,
      totals TEXT NOT NULL,
      PRIMARY KEY (endpoint, primary_version, shadow_version, instance_id)
    ) STRICT, WITHOUT ROWID
    """,
)
# What is acknowledged must survive a kill, as gateways do not repeat it; after a power cut they have new totals anyway.
_SCHEMA = Schema(1, _TABLES, synced=False)
_PUT_ARM = """
    INSERT INTO arms VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (endpoint, release_id, step, version, instance_id)
    DO UPDATE SET sequence = excluded.sequence, totals = excluded.totals
    WHERE excluded.sequence > arms.sequence
"""
_PUT_SHADOW = """
    INSERT INTO shadows VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (endpoint, primary_version, shadow_version, instance_id)
    DO UPDATE SET sequence = excluded.sequence, report_time = excluded.report_time, totals = excluded.totals
    WHERE excluded.sequence > shadows.sequence
"""
# The values of examples may be any bytes and no numbers.
_JSON = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")
# Lists, since only what holds dataclasses can be told how they are written.
_ARMS = TypeAdapter(list[ArmTotals], config=_JSON)
_SHADOWS = TypeAdapter(list[ShadowTotals], config=_JSON)

V = TypeVar("V", ArmTotals, ShadowTotals)


class SqliteTrafficStore:
    """The totals in an open database; failures are StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, log_id: str) -> AsyncIterator[SqliteTrafficStore]:
        """Open the file, made if it is not there; what it has of another log means nothing in this one and goes."""
        async with Database.open(path, _SCHEMA) as database:
            await database.write(lambda connection: _claim(connection, log_id))
            yield cls(database)

    async def put(
        self,
        instance_id: str,
        sequence: int,
        time: datetime,
        arms: Sequence[ArmTotals],
        shadows: Sequence[ShadowTotals],
    ) -> None:
        """Keep totals in place of those that the process gave with a smaller sequence; nothing else changes."""
        arm_rows = [
            (each.endpoint, each.release_id, each.step, each.version, instance_id, sequence, _dumped(_ARMS, each))
            for each in arms
        ]
        shadow_rows = [
            (each.endpoint, each.primary, each.shadow, instance_id, sequence, time.timestamp(), _dumped(_SHADOWS, each))
            for each in shadows
        ]

        def upsert(connection: sqlite3.Connection) -> None:
            connection.executemany(_PUT_ARM, arm_rows)
            connection.executemany(_PUT_SHADOW, shadow_rows)

        await self._database.write(upsert)

    async def arms(self, endpoint: str, release_id: int) -> list[ArmTotals]:
        """What each process has counted of a release, by step and version."""
        query = "SELECT totals FROM arms WHERE endpoint = ? AND release_id = ? ORDER BY step, version, instance_id"
        return await self._select(_ARMS, query, (endpoint, release_id))

    async def shadows(self, endpoint: str) -> list[ShadowTotals]:
        """What each process has compared at an endpoint."""
        query = "SELECT totals FROM shadows WHERE endpoint = ? ORDER BY primary_version, shadow_version, instance_id"
        return await self._select(_SHADOWS, query, (endpoint,))

    async def prune(
        self,
        keeps_release: Callable[[str, int], bool],
        keeps_shadow: Callable[[str, str, str], bool],
        oldest: datetime,
    ) -> None:
        """Delete releases (endpoint, id) and shadows (endpoint, primary, shadow) that are not to be kept.

        Also shadows of processes that have reported none since `oldest`.
        """

        def delete(connection: sqlite3.Connection) -> None:
            releases = connection.execute("SELECT DISTINCT endpoint, release_id FROM arms").fetchall()
            connection.executemany(
                "DELETE FROM arms WHERE endpoint = ? AND release_id = ?",
                [each for each in releases if not keeps_release(*each)],
            )
            connection.execute("DELETE FROM shadows WHERE report_time < ?", (oldest.timestamp(),))
            pairs = connection.execute("SELECT DISTINCT endpoint, primary_version, shadow_version FROM shadows")
            connection.executemany(
                "DELETE FROM shadows WHERE endpoint = ? AND primary_version = ? AND shadow_version = ?",
                [each for each in pairs.fetchall() if not keeps_shadow(*each)],
            )

        await self._database.write(delete)

    async def _select(self, adapter: TypeAdapter[list[V]], query: str, parameters: tuple[str | int, ...]) -> list[V]:
        def select(connection: sqlite3.Connection) -> list[V]:
            return [
                each for (totals,) in connection.execute(query, parameters) for each in adapter.validate_json(totals)
            ]

        return await self._database.read(select)


def _dumped(adapter: TypeAdapter[list[V]], totals: V) -> str:
    return adapter.dump_json([totals], exclude_defaults=True).decode()


def _claim(connection: sqlite3.Connection, log_id: str) -> None:
    """Make the file one of this log."""
    if connection.execute("SELECT log_id FROM log").fetchone() == (log_id,):
        return
    for table in ("log", "arms", "shadows"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - one of three names
    connection.execute("INSERT INTO log VALUES (?)", (log_id,))
