"""The guards of a release: each compares both versions by tests that hold at every look."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.registry.definitions import ErrorRateGuard, LatencyGuard, QualityGuard, Release
from services.registry.evidence import StepEvidence, bins_between, edge_us, p99_us
from services.registry.quality.comparison import compare
from services.registry.quality.measures import Estimate
from services.registry.sequential import (
    Bounds,
    Trials,
    quantile_bounds,
    quantile_exceeds,
    share_bounds,
    share_exceeds,
)

_TAIL = 0.01


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """What a guard makes of a step: bounds of both versions' values, and whether the candidate is beyond the limit.

    The quality guard takes all steps up to this one together. Units: shares, microseconds, that of the metric.
    """

    guard: str
    step: int
    stable_low: float
    stable_high: float
    candidate_low: float
    candidate_high: float
    violated: bool
    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A version's value and its bounds."""

    value: float
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether the candidate is beyond a guard's limit; what both versions' readings are costs more, and only on demand.

    `measure`, `where`, `limit` and `shown` put it in words.
    """

    guard: str
    step: int
    violated: bool
    stable: Callable[[], Reading]
    candidate: Callable[[], Reading]
    measure: str
    limit: str
    shown: Callable[[float], str]
    where: str = "at"

    def verdict(self, release: Release) -> GuardVerdict:
        """The finding in figures and words."""
        before, after = self.stable(), self.candidate()
        text = (
            f"{self.measure} {self._told(after)} of {release.candidate} {self.where} "
            f"{release.plan.steps[self.step]:g} % against {self._told(before)} of {release.stable}: "
            f"{'' if self.violated else 'not shown to be '}{self.limit}"
        )
        return GuardVerdict(self.guard, self.step, *before.bounds, *after.bounds, self.violated, text)

    def _told(self, reading: Reading) -> str:
        low, high = map(self.shown, reading.bounds)
        bounds = f"{low} to {high}" if math.isfinite(reading.bounds.high) else f"{low} or more"
        return f"{self.shown(reading.value)} ({bounds})"


def find(release: Release, evidence: Sequence[StepEvidence]) -> Iterator[Finding]:
    """What each guard makes of each step, and that of quality of all; nothing of what they have not seen enough of yet.

    The false-alarm rate is shared out over the guards and, but for quality, the steps; the last one, which is promotion,
    nothing guards.
    """
    plan = release.plan
    guards = sum(guard is not None for guard in (plan.error_rate, plan.latency, plan.quality))
    alpha = plan.false_alarm_rate / max(guards, 1)
    alpha_of_step = alpha / max(len(plan.steps) - 1, 1)
    for step in evidence:
        if plan.error_rate and step.stable.requests and step.candidate.requests:
            yield _error_rate(plan.error_rate, step, alpha_of_step)
        if plan.latency and step.stable.latency and step.candidate.latency:
            yield _latency(plan.latency, step, alpha_of_step)
    if plan.quality:
        yield from _quality(plan.quality, evidence, alpha)


def verdicts(release: Release, evidence: Sequence[StepEvidence]) -> tuple[GuardVerdict, ...]:
    """All findings, in figures and words."""
    return tuple(finding.verdict(release) for finding in find(release, evidence))


def _error_rate(guard: ErrorRateGuard, step: StepEvidence, alpha: float) -> Finding:
    def reading(trials: Trials) -> Reading:
        return Reading(trials.share, share_bounds(trials, alpha / 2))

    before, after = (Trials(arm.errors, arm.requests) for arm in (step.stable, step.candidate))
    return Finding(
        guard="error_rate",
        step=step.step,
        violated=share_exceeds(before, after, guard.max_increase, alpha),
        stable=lambda: reading(before),
        candidate=lambda: reading(after),
        measure="error_rate",
        limit=f"higher by more than {_percent(guard.max_increase)}",
        shown=_percent,
    )


def _latency(guard: LatencyGuard, step: StepEvidence, alpha: float) -> Finding:
    def reading(latency: Mapping[int, int]) -> Reading:
        low, high = quantile_bounds(latency, _TAIL, alpha / 2)
        return Reading(p99_us(latency), Bounds(edge_us(low), edge_us(high)))

    before, after = step.stable.latency, step.candidate.latency
    return Finding(
        guard="latency_p99",
        step=step.step,
        violated=quantile_exceeds(before, after, _TAIL, bins_between(guard.max_p99_ratio), alpha),
        stable=lambda: reading(before),
        candidate=lambda: reading(after),
        measure="latency_p99",
        limit=f"more than {guard.max_p99_ratio:g} times as long",
        shown=_milliseconds,
    )


def _quality(guard: QualityGuard, evidence: Sequence[StepEvidence], alpha: float) -> Iterator[Finding]:
    compared = compare(guard.metric, [(step.stable.outcomes, step.candidate.outcomes) for step in evidence])
    if not compared:
        return

    def reading(of: Estimate) -> Reading:
        return Reading(of.value, compared.bounds(of, alpha / 2))

    yield Finding(
        guard="quality",
        step=max(step.step for step in evidence),
        violated=compared.least_worsening(alpha) > guard.max_worsening,
        stable=lambda: reading(compared.stable),
        candidate=lambda: reading(compared.candidate),
        measure=guard.metric.lower(),
        limit=f"worse by more than {guard.max_worsening:g}",
        shown="{:.3g}".format,
        where="up to",
    )


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _milliseconds(us: float) -> str:
    return f"{us / 1000:.3g} ms"
