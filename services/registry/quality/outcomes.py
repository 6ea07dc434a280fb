"""What the registry knows of predictions and outcomes, for gateways that bring them and all who ask how good versions are."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

from services.mesh.errors import InvalidArgument
from services.mesh.telemetry import names
from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality.checks import check_records, check_size
from services.registry.quality.counts import Counts
from services.registry.quality.expiry import forgetting
from services.registry.quality.exporting import Place, Selection
from services.registry.quality.records import ExportedPrediction, Outcome, OutcomeResult, PredictionRecord
from services.registry.quality.report import Tally, VersionQuality, window_of
from services.registry.quality.store import QualityStore

# Versions and lengths of time of one answer.
MAX_ENTRIES = 1_000
# A write waits for no longer than this many take to delete.
FORGET_AT_ONCE = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Outcomes:
    """Predictions and outcomes over `store`, which keeps at most `max_predictions`; `now` is the time in UTC."""

    def __init__(self, store: QualityStore, now: Callable[[], datetime], *, max_predictions: int) -> None:
        self._store = store
        self._now = now
        self._max_predictions = max_predictions

    async def keep(self, records: Sequence[PredictionRecord]) -> None:
        """Keep predictions for their outcomes, all of them or none. Those that are known or over are left aside."""
        check_records(records)
        now_us = self._now_us()
        due = [record for record in records if record.expire_us > now_us]
        if due:
            kept = await self._store.keep(due, self._max_predictions)
            names.KEPT_PREDICTIONS.inc(kept.added)
            names.FORGOTTEN_PREDICTIONS.labels("full").inc(kept.forgotten)

    async def record(self, outcomes: Sequence[Outcome]) -> list[OutcomeResult]:
        """Record what came true, and answer what becomes of each outcome; durable then."""
        check_size(len(outcomes), "outcomes")
        results = await self._store.claim(outcomes, self._now_us())
        for result, count in Counter(map(_told, results)).items():
            names.OUTCOMES.labels(result).inc(count)
        return results

    async def quality(self, endpoint: str, window_ms: int = 0, every_ms: int = 0) -> list[VersionQuality]:
        """The quality of the endpoint's versions, as GetQuality has it: by version, and by time in each."""
        window = window_of(window_ms, every_ms, await self._store.newest_hour(endpoint))
        tallies: dict[tuple[str, tuple[int, ...], OutcomeKind, int], Tally] = {}
        for number, series in await self._store.series_of(endpoint):
            async for hour in self._store.hours(number, series.kind, window.first, window.last):
                key = (series.model, _order(series.version), series.kind, window.period_of(hour.hour))
                if key not in tallies:
                    _check_entries(len(tallies))
                    tallies[key] = Tally(series.model, series.version, series.kind)
                tallies[key].add(hour)
        return [tallies[key].quality() for key in sorted(tallies)]

    async def step_counts(self, endpoint: str, release_id: int) -> Mapping[tuple[int, str], Counts]:
        """What the outcomes of a release amount to, by step and version."""
        return await self._store.step_counts(endpoint, release_id)

    async def export(
        self, endpoint: str, *, start_us: int, end_us: int, labelled_only: bool, page_bytes: int
    ) -> AsyncIterator[Sequence[ExportedPrediction]]:
        """Pages of the predictions that were kept with their features, of as_of from a time to before another."""
        if start_us >= end_us:
            raise InvalidArgument("the end is not after the start", field="end_time")
        selection, place = Selection(endpoint, end_us, labelled_only), Place(start_us)
        while (page := await self._store.exported(selection, place, page_bytes)).end:
            place = page.end
            if page.predictions:
                yield page.predictions

    def forgetting(self) -> AbstractAsyncContextManager[None]:
        """Forget predictions as they expire, for the time of the context."""
        return forgetting(self.forget)

    async def forget(self) -> bool:
        """Delete some predictions whose outcomes may come no more; return whether there may be others."""
        count = await self._store.forget_expired(self._now_us(), FORGET_AT_ONCE)
        names.FORGOTTEN_PREDICTIONS.labels("expired").inc(count)
        names.STORED_PREDICTIONS.set(await self._store.kept())
        return count == FORGET_AT_ONCE

    def _now_us(self) -> int:
        return (self._now() - _EPOCH) // _MICROSECOND


def _check_entries(count: int) -> None:
    if count >= MAX_ENTRIES:
        raise InvalidArgument(
            f"that is more than {MAX_ENTRIES} lengths of time of versions; take longer ones, or a shorter window",
            field="every_ms",
        )


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _told(result: OutcomeResult) -> str:
    if result.error is not None:
        return result.error.reason.value
    return "existed" if result.existed else "recorded"
