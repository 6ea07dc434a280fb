"""The guards of a release: each compares both versions by tests that hold at every look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

    The quality guard takes all steps up to this one together.
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
class _Reading:
    """A version's value and its bounds."""

    value: float
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class _Finding:
    """What a guard found: which measure, in which form for people, and beyond which limit in words."""

    guard: str
    measure: str
    step: int
    stable: _Reading
    candidate: _Reading
    violated: bool
    limit: str
    shown: Callable[[float], str]


def verdicts(release: Release, evidence: Sequence[StepEvidence]) -> tuple[GuardVerdict, ...]:
    """What each guard makes of each step, and that of quality of all; nothing of what they have not seen enough of yet.

    The false-alarm rate is shared out over the guards and, but for quality, the steps; the last one, which is promotion,
    nothing guards.
    """
    plan = release.plan
    alpha = plan.false_alarm_rate / sum(1 for guard in (plan.error_rate, plan.latency, plan.quality) if guard)
    alpha_of_step = alpha / (len(plan.steps) - 1)
    findings: list[_Finding | None] = []
    for step in evidence:
        if plan.error_rate:
            findings.append(_error_rate(plan.error_rate, step, alpha_of_step))
        if plan.latency:
            findings.append(_latency(plan.latency, step, alpha_of_step))
    if plan.quality:
        findings.append(_quality(plan.quality, evidence, alpha))
    return tuple(_verdict(finding, release) for finding in findings if finding)


def _error_rate(guard: ErrorRateGuard, step: StepEvidence, alpha: float) -> _Finding | None:
    if not step.stable.requests or not step.candidate.requests:
        return None

    def reading(trials: Trials) -> _Reading:
        return _Reading(trials.share, share_bounds(trials, alpha / 2))

    before, after = (Trials(arm.errors, arm.requests) for arm in (step.stable, step.candidate))
    violated = share_exceeds(before, after, guard.max_increase, alpha)
    limit = f"higher by more than {_percent(guard.max_increase)}"
    return _Finding("error_rate", "error_rate", step.step, reading(before), reading(after), violated, limit, _percent)


def _latency(guard: LatencyGuard, step: StepEvidence, alpha: float) -> _Finding | None:
    before, after = step.stable.latency, step.candidate.latency
    if not before or not after:
        return None

    def reading(latency: Mapping[int, int]) -> _Reading:
        low, high = quantile_bounds(latency, _TAIL, alpha / 2)
        return _Reading(p99_us(latency), Bounds(edge_us(low), edge_us(high)))

    violated = quantile_exceeds(before, after, _TAIL, bins_between(guard.max_p99_ratio), alpha)
    limit = f"more than {guard.max_p99_ratio:g} times as long"
    return _Finding(
        "latency_p99", "latency_p99", step.step, reading(before), reading(after), violated, limit, _milliseconds
    )


def _quality(guard: QualityGuard, evidence: Sequence[StepEvidence], alpha: float) -> _Finding | None:
    found = compare(guard.metric, [(step.stable.outcomes, step.candidate.outcomes) for step in evidence])
    if not found:
        return None

    def reading(of: Estimate) -> _Reading:
        return _Reading(of.value, found.bounds(of, alpha / 2))

    before, after = reading(found.stable), reading(found.candidate)
    violated = found.least_worsening(alpha) > guard.max_worsening
    limit = f"worse by more than {guard.max_worsening:g}"
    last = max(step.step for step in evidence)
    return _Finding("quality", guard.metric.lower(), last, before, after, violated, limit, "{:.3g}".format)


def _verdict(found: _Finding, release: Release) -> GuardVerdict:
    def told(reading: _Reading) -> str:
        low, high = map(found.shown, reading.bounds)
        return f"{found.shown(reading.value)} ({low} to {high})"

    percent = f"{release.plan.steps[found.step]:g} %"
    text = (
        f"{found.measure} {told(found.candidate)} of {release.candidate} at {percent} against {told(found.stable)} "
        f"of {release.stable}: {'' if found.violated else 'not shown to be '}{found.limit}"
    )
    return GuardVerdict(found.guard, found.step, *found.stable.bounds, *found.candidate.bounds, found.violated, text)


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _milliseconds(us: float) -> str:
    return f"{us / 1000:.3g} ms"
