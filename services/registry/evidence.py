"""What the versions of a release have shown in each of its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.registry.quality.measures import Outcomes

# Bins of times an octave: bin i holds those from 2^(i/8) microseconds on.
_BINS_AN_OCTAVE = 8


@dataclass(frozen=True, slots=True)
class ArmEvidence:
    """What one version did in a step: requests, those that failed, times of the others by bin, outcomes."""

    requests: int = 0
    errors: int = 0
    latency: Mapping[int, int] = field(default_factory=dict)
    outcomes: Outcomes | None = None


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """What both versions did in one step; `step` is an index of the plan's steps."""

    step: int
    stable: ArmEvidence = ArmEvidence()
    candidate: ArmEvidence = ArmEvidence()


def edge_us(index: float) -> float:
    """Shortest time of a bin, in microseconds; 0 and infinity for the infinities."""
    return math.pow(2, index / _BINS_AN_OCTAVE)


def bins_between(ratio: float) -> float:
    """How many bins further a time lies that is `ratio` times as long."""
    return _BINS_AN_OCTAVE * math.log2(ratio)


def p99_us(latency: Mapping[int, int]) -> int:
    """99th percentile of times by bin, in microseconds: the middle of its bin; 0 without times."""
    beyond, total = 0, sum(latency.values())
    for index in sorted(latency, reverse=True):
        beyond += latency[index]
        if 100 * beyond >= total > 0:
            return round(edge_us(index) * 2 ** (0.5 / _BINS_AN_OCTAVE))
    return 0
