"""Plans of releases."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from services.mesh.errors import FieldViolation
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
from services.registry.plans import check_plan, completed, metric_fits


def faults_of(plan: ReleasePlan) -> tuple[FieldViolation, ...]:
    """What is wrong with a plan."""
    faults = Faults()
    check_plan(plan, "plan", faults)
    if not faults:
        return ()
    with pytest.raises(InvalidDefinition) as caught:
        faults.check()
    return caught.value.violations


def test_an_empty_plan_is_the_default_one() -> None:
    """It says everything that release.proto promises, and nothing is wrong with either."""
    whole = ReleasePlan(
        steps=(5, 25, 50, 100),
        min_requests=500,
        min_duration_ms=60_000,
        max_duration_ms=86_400_000,
        false_alarm_rate=0.01,
        error_rate=ErrorRateGuard(0.01),
        latency=LatencyGuard(1.5),
    )
    assert whole == completed(ReleasePlan()) == completed(whole)
    assert () == faults_of(ReleasePlan()) == faults_of(whole)


@pytest.mark.parametrize(
    "given",
    [
        ReleasePlan(error_rate=ErrorRateGuard(0.2)),
        ReleasePlan(latency=LatencyGuard(3.0)),
        ReleasePlan(quality=QualityGuard(QualityMetric.AUC)),
    ],
    ids=["errors", "latency", "quality"],
)
def test_a_guard_switches_no_other_off(given: ReleasePlan) -> None:
    """Errors and latency are guarded whatever a plan names; quality is only if it is named."""
    plan = completed(given)
    assert (given.error_rate or ErrorRateGuard(0.01)) == plan.error_rate
    assert (given.latency or LatencyGuard(1.5)) == plan.latency
    assert (given.quality and QualityGuard(QualityMetric.AUC, 0.0, 100)) == plan.quality
    assert plan == completed(plan)


def test_what_a_plan_says_stays() -> None:
    """Whatever the defaults are."""
    plan = ReleasePlan((0.01, 99.99, 100), 1, 1, 2, 0.4, ErrorRateGuard(0.0), LatencyGuard(1.0), _quality(0.5, 7))
    assert plan == completed(plan)
    assert () == faults_of(plan)


def _quality(worsening: float, outcomes: int = 0, metric: QualityMetric = QualityMetric.AUC) -> QualityGuard:
    return QualityGuard(metric, worsening, outcomes)


@pytest.mark.parametrize(
    ("changed", "field", "text"),
    [
        ({"steps": (5, 5, 100)}, "steps", "ascend"),
        ({"steps": (50, 25, 100)}, "steps", "ascend"),
        ({"steps": (5, 50)}, "steps", "the last step is 100"),
        ({"steps": (100,)}, "steps", "a step below 100 comes first"),
        ({"steps": (*range(1, 21), 100)}, "steps", "21 steps; at most 20"),
        ({"steps": (0, 100)}, "steps[0]", "0.01 to 100"),
        ({"steps": (-1, 100)}, "steps[0]", "0.01 to 100"),
        ({"steps": (5, 100, 101)}, "steps[2]", "0.01 to 100"),
        ({"steps": (0.005, 100)}, "steps[0]", "by 0.01"),
        ({"steps": (33.333, 100)}, "steps[0]", "by 0.01"),
        ({"steps": (math.nan, 100)}, "steps[0]", "0.01 to 100"),
        ({"steps": (math.inf, 100)}, "steps[0]", "0.01 to 100"),
        ({"min_requests": -1}, "min_requests", "0 (the default)"),
        ({"min_duration_ms": -1}, "min_duration_ms", "0 (the default)"),
        ({"max_duration_ms": 91 * 86_400_000}, "max_duration_ms", "90 days"),
        ({"min_duration_ms": 1000, "max_duration_ms": 1000}, "max_duration_ms", "not more than min_duration_ms"),
        ({"max_duration_ms": 60_000}, "max_duration_ms", "not more than min_duration_ms, 60000 ms"),
        ({"false_alarm_rate": -0.1}, "false_alarm_rate", "a probability"),
        ({"false_alarm_rate": 0.5}, "false_alarm_rate", "below 0.5"),
        ({"false_alarm_rate": 5e-324}, "false_alarm_rate", "from 1e-09"),
        ({"false_alarm_rate": math.nan}, "false_alarm_rate", "a probability"),
        ({"error_rate": ErrorRateGuard(-0.01)}, "error_rate.max_increase", "0 to below 1"),
        ({"error_rate": ErrorRateGuard(1.0)}, "error_rate.max_increase", "0 to below 1"),
        ({"error_rate": ErrorRateGuard(math.nan)}, "error_rate.max_increase", "0 to below 1"),
        ({"latency": LatencyGuard(0.0)}, "latency.max_p99_ratio", "1 to 100"),
        ({"latency": LatencyGuard(101.0)}, "latency.max_p99_ratio", "1 to 100"),
        ({"latency": LatencyGuard(math.nan)}, "latency.max_p99_ratio", "1 to 100"),
        ({"quality": _quality(0.0, metric=QualityMetric.UNSPECIFIED)}, "quality.metric", "names its metric"),
        ({"quality": _quality(-0.1)}, "quality.max_worsening", "0 to below 1"),
        ({"quality": _quality(1.0)}, "quality.max_worsening", "0 to below 1"),
        ({"quality": _quality(7.6, metric=QualityMetric.LOG_LOSS)}, "quality.max_worsening", "0 to below 7.6"),
        ({"quality": _quality(math.inf, metric=QualityMetric.MAE)}, "quality.max_worsening", "finite"),
        ({"quality": _quality(math.nan, metric=QualityMetric.MAE)}, "quality.max_worsening", "finite"),
        ({"quality": _quality(0.0, -1)}, "quality.min_outcomes", "0 (the default)"),
    ],
)
def test_what_could_not_act_is_named(changed: dict[str, Any], field: str, text: str) -> None:
    """By its path, with what it may be."""
    found = faults_of(replace(ReleasePlan(), **changed))
    assert [f"plan.{field}"] == [violation.field for violation in found]
    assert text in found[0].description


def test_every_fault_is_named_at_once() -> None:
    """So that nobody has to try again and again."""
    plan = ReleasePlan((50, 25), -1, latency=LatencyGuard(0.5), quality=_quality(2.0, -1))
    assert {
        "plan.steps",
        "plan.min_requests",
        "plan.latency.max_p99_ratio",
        "plan.quality.max_worsening",
        "plan.quality.min_outcomes",
    } == {violation.field for violation in faults_of(plan)}


def test_hundredths_that_no_float_holds_exactly_are_fine() -> None:
    """0.29 is not 29 hundredths to the last bit."""
    assert () == faults_of(ReleasePlan(steps=(0.07, 0.29, 1.13, 57.99, 100)))


@pytest.mark.parametrize("metric", list(QualityMetric))
def test_a_metric_fits_one_kind_of_outcome(metric: QualityMetric) -> None:
    """And the one that a newer client means fits none."""
    kinds = [kind for kind in OutcomeKind if metric_fits(metric, kind)]
    regression = {QualityMetric.MAE, QualityMetric.MSE}
    if metric is QualityMetric.UNSPECIFIED:
        assert [] == kinds
    else:
        assert [OutcomeKind.REGRESSION if metric in regression else OutcomeKind.BINARY] == kinds
