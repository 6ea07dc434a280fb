"""Versions to release, and the traffic that they would have had."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from services.registry.definitions import ErrorRateGuard, LatencyGuard, QualityGuard, QualityMetric, ReleasePlan
from services.registry.plans import completed
from services.registry.quality.measures import bins_of

# What decides a label, on the logit scale: a fifth of the labels is 1, and who sees it all has an AUC of 0.76.
_BASE, _SPREAD = -1.7, 1.1
# Median and spread of the logarithm of a time: 5 ms, p99 16 ms.
_MEDIAN_US, _TIME_SPREAD = 5000.0, 0.5


@dataclass(frozen=True)
class Behaviour:
    """How a version answers.

    It fails a share of requests, is `slowness` times as slow as usual, sees a share of what decides a label, and adds
    noise to the logit of its score, which is calibrated without.
    """

    failing: float = 0.01
    slowness: float = 1.0
    seen: float = 1.0
    noise: float = 0.0

    def failed(self, rng: Generator, requests: int, trouble: float) -> int:
        """How many of the requests fail while everything fails `trouble` times as often."""
        return int(rng.binomial(requests, min(self.failing * trouble, 1.0)))

    def time_bins(self, rng: Generator, requests: int) -> NDArray[np.int64]:
        """Bin of each request's time."""
        times = _MEDIAN_US * self.slowness * rng.lognormal(0.0, _TIME_SPREAD, requests)
        bins: NDArray[np.int64] = np.floor(8 * np.log2(times)).astype(np.int64)
        return bins

    def outcomes(self, rng: Generator, rows: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Label and bin of the score of each row."""
        known = _BASE + _SPREAD * math.sqrt(self.seen) * rng.standard_normal(rows)
        rest = _SPREAD * math.sqrt(1 - self.seen) * rng.standard_normal(rows)
        labels = rng.random(rows) < _sigmoid(known + rest)
        # The usual approximation of the mean of a sigmoid over the rest, which it does not see.
        logits = known / math.sqrt(1 + math.pi / 8 * (1 - self.seen) * _SPREAD**2)
        return labels.astype(np.intp), bins_of(_sigmoid(logits + self.noise * rng.standard_normal(rows)))


@dataclass(frozen=True)
class World:
    """A candidate against a stable version that behaves as usual, and the plan of its release."""

    name: str
    candidate: Behaviour
    plan: ReleasePlan

    @property
    def good(self) -> bool:
        """Whether the candidate is the same as the stable version."""
        return self.candidate == Behaviour()


def _plan(metric: QualityMetric, increase: float, ratio: float, worsening: float, min_duration_s: int) -> ReleasePlan:
    return completed(
        ReleasePlan(
            min_duration_ms=1000 * min_duration_s,
            error_rate=ErrorRateGuard(increase),
            latency=LatencyGuard(ratio),
            quality=QualityGuard(metric, worsening),
        )
    )


_AUC = _plan(QualityMetric.AUC, 0.01, 1.5, 0.02, min_duration_s=60)
_LOG_LOSS = _plan(QualityMetric.LOG_LOSS, 0.01, 1.5, 0.02, min_duration_s=60)

# Shorter than by default, as there are many of them.
GOOD = (
    World("as good, usual limits", Behaviour(), _plan(QualityMetric.AUC, 0.01, 1.5, 0.02, min_duration_s=20)),
    # Exactly at every limit, which is the most that a candidate may be without being worse than allowed.
    World("as good, no margin", Behaviour(), _plan(QualityMetric.LOG_LOSS, 0.0, 1.0, 0.0, min_duration_s=20)),
)
BAD = (
    World("errors 4 % for 1 %", Behaviour(failing=0.04), _AUC),
    World("errors 11 % for 1 %", Behaviour(failing=0.11), _AUC),
    World("p99 2 times as long", Behaviour(slowness=2.0), _AUC),
    World("p99 4 times as long", Behaviour(slowness=4.0), _AUC),
    World("AUC 0.66 for 0.76", Behaviour(seen=0.37), _AUC),
    World("log loss 0.54 for 0.42", Behaviour(noise=1.3), _LOG_LOSS),
)


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = 1 / (1 + np.exp(-logits))
    return shares
