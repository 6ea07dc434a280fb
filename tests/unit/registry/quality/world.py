"""Predictions to record, and a store of the test's own under a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from services.mesh.errors import MeshError
from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality.outcomes import Outcomes
from services.registry.quality.records import ExportedPrediction, Outcome, OutcomeResult, PredictionRecord, Series
from services.registry.quality.store import QualityStore

NOON_US = 1_376_913_600_000_000
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
EVER = 2**62


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: datetime = field(default_factory=lambda: datetime(2013, 8, 19, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def pass_us(self, microseconds: int) -> None:
        self.now += timedelta(microseconds=microseconds)


@asynccontextmanager
async def opened(
    directory: Path, clock: Clock | None = None, max_predictions: int = 1_000, log_id: str = "log"
) -> AsyncIterator[Outcomes]:
    """The outcomes in a directory."""
    async with QualityStore.open(directory / "quality.sqlite3", log_id) as store:
        yield Outcomes(store, clock or Clock(), max_predictions=max_predictions)


def prediction(prediction_id: str, *scores: float, hours: int = 0, **parts: Any) -> PredictionRecord:
    """A prediction of an as_of some hours from noon, whose outcome may come for a day; `parts` may be of its series."""
    whole: dict[str, Any] = {"release_id": 0, "step": 0, "kind": OutcomeKind.BINARY, "version": "1.0.0"}
    whole |= {"endpoint": "delay", "model": "delay"} | parts
    series = Series(**{name: whole[name] for name in Series.__dataclass_fields__})
    return PredictionRecord(
        prediction_id,
        series,
        whole.get("as_of_us", NOON_US + hours * HOUR_US),
        scores or (0.5,),
        whole.get("expire_us", NOON_US + DAY_US),
        whole.get("features"),
    )


async def keep_and_record(outcomes: Outcomes, *rows: tuple[PredictionRecord, float]) -> None:
    """Keep predictions of one row each with the label of it."""
    await outcomes.keep([record for record, _ in rows])
    results = await outcomes.record([Outcome(record.prediction_id, 0, label) for record, label in rows])
    assert [OutcomeResult()] * len(rows) == results


async def refusal(outcomes: Outcomes, outcome: Outcome) -> MeshError:
    """Why an outcome is refused."""
    (result,) = await outcomes.record([outcome])
    assert result.error is not None
    return result.error


async def export(outcomes: Outcomes, endpoint: str = "delay", **parts: Any) -> list[Sequence[ExportedPrediction]]:
    """The pages of an export."""
    whole: dict[str, Any] = {"start_us": -EVER, "end_us": EVER, "labelled_only": False, "page_bytes": 1_000_000}
    return [page async for page in outcomes.export(endpoint, **whole | parts)]
