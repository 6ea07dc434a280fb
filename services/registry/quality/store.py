"""Predictions, outcomes and what they add up to, in a SQLite file: what was acknowledged is there after a power cut."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality import claiming, exporting, keeping, reading
from services.registry.quality.counts import Counts
from services.registry.quality.records import Outcome, OutcomeResult, PredictionRecord, Series
from services.registry.quality.tables import SCHEMA
from services.registry.stores.database import Database

# Of the oldest, a write takes away at most so many for each that it brings: it is never held up for long.
FORGOTTEN_PER_KEPT = 2


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of a write: predictions that were new, those that made room for them, and how many there are now."""

    added: int
    forgotten: int
    total: int


class QualityStore:
    """The tables of an open database. Times are microseconds since the epoch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, log_id: str) -> AsyncIterator[QualityStore]:
        """Open the file, made if it is not there; `log_id` is the log that releases are numbered by.

        The file is ours alone: a second process gets StoreUnavailable.
        """
        async with Database.open(path, SCHEMA) as database:
            await database.write(lambda connection: keeping.belong(connection, log_id))
            yield cls(database)

    async def keep(self, records: Sequence[PredictionRecord], max_predictions: int) -> Kept:
        """Keep predictions whose names are new; when there are more than `max_predictions`, the oldest go."""

        def work(connection: sqlite3.Connection) -> Kept:
            added = keeping.keep(connection, records)
            excess = keeping.kept(connection) - max_predictions
            room = min(excess, FORGOTTEN_PER_KEPT * added)
            forgotten = keeping.forget_oldest(connection, room) if room > 0 else 0
            return Kept(added, forgotten, keeping.kept(connection))

        return await self._database.write(work)

    async def forget_expired(self, now_us: int, limit: int) -> int:
        """Delete up to `limit` predictions whose outcomes may come no more, and return how many there were."""
        return await self._database.write(lambda connection: keeping.forget_expired(connection, now_us, limit))

    async def kept(self) -> int:
        """How many predictions are there."""
        return await self._database.read(keeping.kept)

    async def claim(self, outcomes: Sequence[Outcome], now_us: int) -> list[OutcomeResult]:
        """Record outcomes, each row's once, and answer what becomes of each."""
        return await self._database.write(lambda connection: claiming.claim(connection, outcomes, now_us))

    async def series_of(self, endpoint: str) -> list[tuple[int, Series]]:
        """Every series of the endpoint with its number, the oldest first."""
        return await self._database.read(lambda connection: reading.series_of(connection, endpoint))

    async def step_counts(self, endpoint: str, release_id: int) -> dict[tuple[int, str], Counts]:
        """What the outcomes of a release amount to, by step and version."""
        return await self._database.read(lambda connection: reading.step_counts(connection, endpoint, release_id))

    async def newest_hour(self, endpoint: str) -> int | None:
        """The newest hour of the endpoint that has outcomes."""
        return await self._database.read(lambda connection: reading.newest_hour(connection, endpoint))

    async def hours(self, series: int, kind: OutcomeKind, first: int, last: int) -> AsyncIterator[reading.Hour]:
        """The hours of a series from `first` to `last`, ascending."""
        while page := await self._database.read(
            partial(reading.hours, series=series, kind=kind, first=first, last=last)
        ):
            for hour in page:
                yield hour
            first = page[-1].hour + 1
            if len(page) < reading.PAGE_HOURS:
                return

    async def exported(
        self, selection: exporting.Selection, after: exporting.Place, max_bytes: int
    ) -> exporting.ExportPage:
        """A page of predictions that were kept with their features."""
        return await self._database.read(lambda connection: exporting.exported(connection, selection, after, max_bytes))
