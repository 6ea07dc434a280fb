"""How good versions were, over lengths of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.mesh.errors import InvalidArgument
from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality.counts import Counts, merged, nothing
from services.registry.quality.measures import CalibrationBin, ErrorSums
from services.registry.quality.reading import Hour

HOUR_MS = 3_600_000
# Before and after any hour of the calendar.
FIRST_HOUR, LAST_HOUR = -(2**40), 2**40


@dataclass(frozen=True, slots=True)
class VersionQuality:
    """How good a version was from one hour of as_of to another, both since the epoch and both included.

    `predictions` counts rows that could have an outcome, `outcomes` those that have one. Measures that its kind of label
    does not have are None, as are those of too few outcomes.
    """

    model: str
    version: str
    first_hour: int
    last_hour: int
    kind: OutcomeKind
    outcomes: int
    predictions: int
    auc: float | None = None
    log_loss: float | None = None
    brier: float | None = None
    calibration_error: float | None = None
    calibration: tuple[CalibrationBin, ...] = ()
    mae: float | None = None
    rmse: float | None = None
    bias: float | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Hours from `first` to `last`, cut into periods of `every` hours, counted back from `origin`; 0 hours: all as one."""

    first: int
    last: int
    origin: int
    every: int

    def period_of(self, hour: int) -> int:
        """Number of the period that an hour lies in: 0 ends with the origin, those before are negative."""
        return -((self.origin - hour) // self.every) if self.every else 0


def window_of(window_ms: int, every_ms: int, newest: int | None) -> Window:
    """The last `window_ms` up to the newest hour, cut by `every_ms`; 0 is everything, and uncut.

    InvalidArgument for what is no length of time.
    """
    if window_ms < 0:
        raise InvalidArgument("a window is not negative; 0 is everything", field="window_ms")
    if every_ms < 0 or every_ms % HOUR_MS:
        raise InvalidArgument("quality is kept by the hour: give whole hours, or 0 for all as one", field="every_ms")
    length, every = -(-window_ms // HOUR_MS), every_ms // HOUR_MS
    if newest is None or not length:
        return Window(FIRST_HOUR, LAST_HOUR, newest or 0, every)
    return Window(max(newest - length + 1, FIRST_HOUR), newest, newest, every)


class Tally:
    """What a version's hours of one period amount to."""

    def __init__(self, model: str, version: str, kind: OutcomeKind) -> None:
        self._model, self._version, self._kind = model, version, kind
        self._hours: list[int] = []
        self._predictions = 0
        self._counts = nothing(kind)

    def add(self, hour: Hour) -> None:
        """Count an hour of the same kind."""
        self._hours.append(hour.hour)
        self._predictions += hour.predictions
        self._counts = merged(self._counts, hour.counts)

    def quality(self) -> VersionQuality:
        """The measures."""
        return VersionQuality(
            model=self._model,
            version=self._version,
            first_hour=min(self._hours),
            last_hour=max(self._hours),
            kind=self._kind,
            outcomes=self._counts.n,
            predictions=self._predictions,
            **_measures(self._counts),
        )


def _measures(counts: Counts) -> dict[str, Any]:
    if isinstance(counts, ErrorSums):
        return {"mae": counts.mae, "rmse": counts.rmse, "bias": counts.bias}
    return {
        "auc": counts.auc,
        "log_loss": counts.log_loss,
        "brier": counts.brier,
        "calibration_error": counts.calibration_error,
        "calibration": counts.calibration if counts.n else (),
    }
