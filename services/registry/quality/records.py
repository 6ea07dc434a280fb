"""Predictions that are kept, and what came true of them. Times are microseconds since the epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.mesh.errors import MeshError
from services.registry.definitions.endpoints import OutcomeKind

HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Series:
    """What predictions are counted by, beside the hour. No release: the id is 0."""

    endpoint: str
    model: str
    version: str
    release_id: int
    step: int
    kind: OutcomeKind


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """A prediction: one score a row, NaN for a row that failed; `features` as they came, None if they are not kept."""

    prediction_id: str
    series: Series
    as_of_us: int
    scores: tuple[float, ...]
    expire_us: int
    features: bytes | None = None

    @property
    def scored_rows(self) -> int:
        """Rows that can have an outcome."""
        return sum(usable(score, self.series.kind) for score in self.scores)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came true of one row, and when it was known; without a time, when it was recorded."""

    prediction_id: str
    row: int
    label: float
    time_us: int | None = None


@dataclass(frozen=True, slots=True)
class OutcomeResult:
    """What became of one outcome: recorded, unless there is an error; `existed` if it had been before."""

    existed: bool = False
    error: MeshError | None = None


@dataclass(frozen=True, slots=True)
class ExportedPrediction:
    """A prediction and its outcomes, by row."""

    prediction: PredictionRecord
    outcomes: tuple[Outcome, ...]


def usable(score: float, kind: OutcomeKind) -> bool:
    """Whether a score can be held against a label: a probability (BINARY), or any finite number."""
    return 0.0 <= score <= 1.0 if kind is OutcomeKind.BINARY else math.isfinite(score)


def hour_of(time_us: int) -> int:
    """The hour since the epoch that a time lies in."""
    return time_us // HOUR_US
