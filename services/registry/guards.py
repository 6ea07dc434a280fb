"""The guards of a release: each compares both versions in one step, by bounds that hold at every look."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.registry.definitions import ErrorRateGuard, LatencyGuard, QualityGuard, QualityMetric, Release
from services.registry.evidence import ArmEvidence, StepEvidence, edge_us, p99_us
from services.registry.quality.measures import Estimate, Outcomes, ScoreCounts, estimate
from services.registry.sequential import Bounds, one_sided_errors, quantile_bins, share, two_sided_errors

# Below these the variance of a mean is too uncertain to tell by.
MIN_OUTCOMES = 30
MIN_OF_A_LABEL = 10

_TAIL = 0.01


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """What a guard makes of one step: bounds of both versions' values, and whether the candidate is beyond the limit."""

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
    """What a guard found: of which name (for people), in which form, and beyond which limit (in words)."""

    guard: str
    measure: str
    stable: _Reading
    candidate: _Reading
    violated: bool
    limit: str
    shown: Callable[[float], str]


def verdicts_of(release: Release, evidence: StepEvidence) -> Iterator[GuardVerdict]:
    """The verdicts of those guards that have seen enough of both versions."""
    plan = release.plan
    guards = [guard for guard in (plan.error_rate, plan.latency, plan.quality) if guard]
    # The last step is promotion, which nothing guards.
    alpha = plan.false_alarm_rate / (len(guards) * max(len(plan.steps) - 1, 1))
    for guard in guards:
        finding = _examined(guard, evidence, alpha)
        if finding:
            yield _verdict(finding, release, evidence.step)


def lacking(guard: QualityGuard, outcomes: Outcomes | None) -> list[str]:
    """What a version's outcomes lack before the guard can tell anything by them."""
    rows = outcomes.n if outcomes else 0
    missing = [f"{MIN_OUTCOMES - rows} more outcomes"] if rows < MIN_OUTCOMES else []
    if isinstance(outcomes, ScoreCounts):
        counts = {"label 0": outcomes.negatives, "label 1": outcomes.positives}
        missing += [f"{MIN_OF_A_LABEL - n} more of {label}" for label, n in counts.items() if n < MIN_OF_A_LABEL]
    if not missing and not estimate(guard.metric, outcomes):
        missing = [f"outcomes that have a {guard.metric.lower()}"]
    return missing


def _examined(guard: ErrorRateGuard | LatencyGuard | QualityGuard, step: StepEvidence, alpha: float) -> _Finding | None:
    match guard:
        case ErrorRateGuard():
            return _error_rate(guard, step.stable, step.candidate, alpha)
        case LatencyGuard():
            return _latency(guard, step.stable, step.candidate, alpha)
        case QualityGuard():
            return _quality(guard, step.stable, step.candidate, alpha)


def _error_rate(guard: ErrorRateGuard, stable: ArmEvidence, candidate: ArmEvidence, alpha: float) -> _Finding | None:
    if not stable.requests or not candidate.requests:
        return None

    def reading(arm: ArmEvidence) -> _Reading:
        return _Reading(arm.errors / arm.requests, share(arm.errors, arm.requests, alpha / 2))

    before, after = reading(stable), reading(candidate)
    violated = after.bounds.low > before.bounds.high + guard.max_increase
    limit = f"higher by more than {_percent(guard.max_increase)}"
    return _Finding("error_rate", "error_rate", before, after, violated, limit, _percent)


def _latency(guard: LatencyGuard, stable: ArmEvidence, candidate: ArmEvidence, alpha: float) -> _Finding | None:
    if not stable.latency or not candidate.latency:
        return None

    def reading(arm: ArmEvidence) -> _Reading:
        low, high = quantile_bins(arm.latency, _TAIL, alpha / 2)
        return _Reading(p99_us(arm.latency), Bounds(edge_us(low), edge_us(high)))

    before, after = reading(stable), reading(candidate)
    violated = after.bounds.low > before.bounds.high * guard.max_p99_ratio
    limit = f"more than {guard.max_p99_ratio:g} times as long"
    return _Finding("latency_p99", "latency_p99", before, after, violated, limit, _milliseconds)


def _quality(guard: QualityGuard, stable: ArmEvidence, candidate: ArmEvidence, alpha: float) -> _Finding | None:
    if lacking(guard, stable.outcomes) or lacking(guard, candidate.outcomes):
        return None
    before, after = estimate(guard.metric, stable.outcomes), estimate(guard.metric, candidate.outcomes)
    assert before
    assert after
    violated = least_worsening(guard.metric, before, after, alpha) > guard.max_worsening
    limit = f"worse by more than {guard.max_worsening:g}"

    def reading(of: Estimate) -> _Reading:
        return _Reading(of.value, _bounds(guard.metric, of, alpha / 2))

    return _Finding("quality", guard.metric.lower(), reading(before), reading(after), violated, limit, "{:.3g}".format)


def least_worsening(metric: QualityMetric, stable: Estimate, candidate: Estimate, alpha: float) -> float:
    """Lower bound of how much worse the candidate is, in the metric's unit.

    Of the difference itself: two bounds that just touch would ask for up to twice as many outcomes. Its time is its
    information, in outcomes of the candidate's variance (Jennison, Turnbull: Group sequential methods, 2000, ch. 3).
    """
    worsening = candidate.value - stable.value if metric is not QualityMetric.AUC else stable.value - candidate.value
    variance = stable.variance + candidate.variance
    n = candidate.n * candidate.variance / variance
    return worsening - one_sided_errors(n, alpha) * math.sqrt(variance)


def _bounds(metric: QualityMetric, of: Estimate, alpha: float) -> Bounds:
    radius = two_sided_errors(of.n, alpha) * math.sqrt(of.variance)
    most = 1.0 if metric in {QualityMetric.AUC, QualityMetric.BRIER} else math.inf
    return Bounds(max(of.value - radius, 0.0), min(of.value + radius, most))


def _verdict(found: _Finding, release: Release, step: int) -> GuardVerdict:
    def told(reading: _Reading) -> str:
        low, high = map(found.shown, reading.bounds)
        return f"{found.shown(reading.value)} ({low} to {high})"

    percent = f"{release.plan.steps[step]:g} %"
    text = (
        f"{found.measure} {told(found.candidate)} of {release.candidate} at {percent} against {told(found.stable)} "
        f"of {release.stable}: {'' if found.violated else 'not shown to be '}{found.limit}"
    )
    return GuardVerdict(found.guard, step, *found.stable.bounds, *found.candidate.bounds, found.violated, text)


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _milliseconds(us: float) -> str:
    return f"{us / 1000:.3g} ms"
