"""Releases: a version on its way to replace another at an endpoint."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime


class ReleaseState(enum.StrEnum):
    """Where a release stands."""

    UNSPECIFIED = ""
    RUNNING = "RUNNING"
    HELD = "HELD"
    PROMOTED = "PROMOTED"
    ROLLED_BACK = "ROLLED_BACK"

    @property
    def under_way(self) -> bool:
        """Whether both versions answer callers."""
        return self in {ReleaseState.RUNNING, ReleaseState.HELD}


class QualityMetric(enum.StrEnum):
    """A measure of predictions against what came true; only of AUC more is better."""

    UNSPECIFIED = ""
    AUC = "AUC"
    LOG_LOSS = "LOG_LOSS"
    BRIER = "BRIER"
    MAE = "MAE"
    MSE = "MSE"


@dataclass(frozen=True, slots=True)
class ErrorRateGuard:
    """Takes back a candidate whose share of failed requests is larger by more than `max_increase`, 0 to below 1."""

    max_increase: float = 0.0


@dataclass(frozen=True, slots=True)
class LatencyGuard:
    """Takes back a candidate whose p99 is longer than `max_p99_ratio` (1 or more) times the stable version's."""

    max_p99_ratio: float


@dataclass(frozen=True, slots=True)
class QualityGuard:
    """Takes back a candidate that is worse by more than `max_worsening`, in the metric's unit; 0 outcomes: 100."""

    metric: QualityMetric
    max_worsening: float = 0.0
    min_outcomes: int = 0


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """Shares of the candidate in percent, ascending to 100, and what ends or delays the way; see release.proto.

    As a caller gives it, 0 and empty stand for defaults; in a Release every field has its value.
    """

    steps: tuple[float, ...] = ()
    min_requests: int = 0
    min_duration_ms: int = 0
    max_duration_ms: int = 0
    false_alarm_rate: float = 0.0
    error_rate: ErrorRateGuard | None = None
    latency: LatencyGuard | None = None
    quality: QualityGuard | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A candidate and the stable version that it is to replace; `id` is never given again.

    `step` is an index of the plan's steps. Times are UTC.
    """

    endpoint: str
    id: int
    stable: str
    candidate: str
    plan: ReleasePlan
    state: ReleaseState
    step: int
    start_time: datetime
    step_time: datetime
    state_time: datetime
    reason: str = ""
    forced_gates: tuple[str, ...] = ()

    @property
    def percent(self) -> float:
        """Share of the candidate now."""
        if self.state.under_way:
            return self.plan.steps[self.step]
        return 100.0 if self.state is ReleaseState.PROMOTED else 0.0
