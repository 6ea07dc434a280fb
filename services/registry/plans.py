"""How a release goes about it: the defaults of a plan and the rules that it keeps."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

from services.registry.definitions import (
    ErrorRateGuard,
    LatencyGuard,
    OutcomeKind,
    QualityGuard,
    QualityMetric,
    ReleasePlan,
)
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.routes import is_share

MAX_STEPS = 20
MAX_COUNT = 1_000_000_000
MAX_DURATION_MS = 90 * 86_400_000
MAX_P99_RATIO = 100.0
# With less, guards need so much evidence that they do not act.
MIN_FALSE_ALARM_RATE = 1e-9

_METRICS = {
    OutcomeKind.BINARY: frozenset({QualityMetric.AUC, QualityMetric.LOG_LOSS, QualityMetric.BRIER}),
    OutcomeKind.REGRESSION: frozenset({QualityMetric.MAE, QualityMetric.MSE}),
}
# Measures that have a largest value; that of log loss is of scores as they are counted.
_LARGEST = {QualityMetric.AUC: 1.0, QualityMetric.BRIER: 1.0, QualityMetric.LOG_LOSS: 7.6}


def metric_fits(metric: QualityMetric, kind: OutcomeKind) -> bool:
    """Whether the outcomes of an endpoint have the measure."""
    return metric in _METRICS.get(kind, frozenset())


def completed(plan: ReleasePlan) -> ReleasePlan:
    """The plan with a value in every field. Errors and latency are always guarded, quality only if the plan says by how much."""
    return ReleasePlan(
        steps=plan.steps or (5.0, 25.0, 50.0, 100.0),
        min_requests=plan.min_requests or 500,
        min_duration_ms=plan.min_duration_ms or 60_000,
        max_duration_ms=plan.max_duration_ms or 86_400_000,
        false_alarm_rate=plan.false_alarm_rate or 0.01,
        error_rate=plan.error_rate or ErrorRateGuard(max_increase=0.01),
        latency=plan.latency or LatencyGuard(max_p99_ratio=1.5),
        quality=plan.quality and replace(plan.quality, min_outcomes=plan.quality.min_outcomes or 100),
    )


def check_plan(plan: ReleasePlan, path: str, faults: Faults) -> None:
    """A plan as a caller gives it; whether the endpoint has the outcomes that its quality guard needs is another matter."""
    _check_steps(plan.steps, f"{path}.steps", faults)
    _check_count(plan.min_requests, f"{path}.min_requests", faults)
    _check_durations(plan, path, faults)
    if plan.false_alarm_rate != 0 and not MIN_FALSE_ALARM_RATE <= plan.false_alarm_rate < 0.5:
        why = f"a probability from {MIN_FALSE_ALARM_RATE:g} (0 itself: 0.01) to below 0.5"
        faults.add(InvalidDefinition, f"{path}.false_alarm_rate", why)
    if plan.error_rate and not 0 <= plan.error_rate.max_increase < 1:
        faults.add(InvalidDefinition, f"{path}.error_rate.max_increase", "a difference of shares: 0 to below 1")
    if plan.latency and not 1 <= plan.latency.max_p99_ratio <= MAX_P99_RATIO:
        faults.add(InvalidDefinition, f"{path}.latency.max_p99_ratio", f"a ratio: 1 to {MAX_P99_RATIO:g}")
    if plan.quality:
        _check_quality(plan.quality, f"{path}.quality", faults)


def _check_steps(steps: tuple[float, ...], path: str, faults: Faults) -> None:
    if not steps:
        return
    if len(steps) > MAX_STEPS:
        faults.add(InvalidDefinition, path, f"{len(steps)} steps; at most {MAX_STEPS}")
    wrong = [index for index, percent in enumerate(steps) if not is_share(percent)]
    for index in wrong:
        faults.add(InvalidDefinition, f"{path}[{index}]", f"{steps[index]:g} is not a share of 0.01 to 100 by 0.01")
    if not wrong:
        _check_order(steps, path, faults)


def _check_order(steps: tuple[float, ...], path: str, faults: Faults) -> None:
    if any(before >= after for before, after in pairwise(steps)):
        faults.add(InvalidDefinition, path, "shares ascend")
    if steps[-1] != 100:
        faults.add(InvalidDefinition, path, "the last step is 100, which is promotion")
    elif len(steps) == 1:
        faults.add(InvalidDefinition, path, "a step below 100 comes first; to do without, promote the version")


def _check_durations(plan: ReleasePlan, path: str, faults: Faults) -> None:
    durations = {"min_duration_ms": plan.min_duration_ms, "max_duration_ms": plan.max_duration_ms}
    wrong = [name for name, duration in durations.items() if not 0 <= duration <= MAX_DURATION_MS]
    for name in wrong:
        faults.add(InvalidDefinition, f"{path}.{name}", f"0 (the default) to {MAX_DURATION_MS} ms, which is 90 days")
    whole = completed(plan)
    if not wrong and whole.max_duration_ms <= whole.min_duration_ms:
        faults.add(
            InvalidDefinition,
            f"{path}.max_duration_ms",
            f"{whole.max_duration_ms} ms is not more than min_duration_ms, {whole.min_duration_ms} ms",
        )


def _check_quality(guard: QualityGuard, path: str, faults: Faults) -> None:
    if guard.metric is QualityMetric.UNSPECIFIED:
        faults.add(
            InvalidDefinition, f"{path}.metric", "a quality guard names its metric: AUC, LOG_LOSS, BRIER, MAE or MSE"
        )
    most = _LARGEST.get(guard.metric, math.inf)
    if not 0 <= guard.max_worsening < most:
        text = f"0 to below {most:g}" if math.isfinite(most) else "0 or more, and finite"
        faults.add(InvalidDefinition, f"{path}.max_worsening", f"a difference of the metric: {text}")
    _check_count(guard.min_outcomes, f"{path}.min_outcomes", faults)


def _check_count(count: int, path: str, faults: Faults) -> None:
    if not 0 <= count <= MAX_COUNT:
        faults.add(InvalidDefinition, path, f"0 (the default) to {MAX_COUNT}")
