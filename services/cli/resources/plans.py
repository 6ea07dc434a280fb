"""Plans of releases, from their YAML form."""

from __future__ import annotations

from predictmesh.registry.v1.release_pb2 import (
    ErrorRateGuard,
    LatencyGuard,
    QualityGuard,
    QualityMetric,
    ReleasePlan,
)
from services.cli import durations
from services.cli.resources.cursor import Cursor

_PREFIX = "QUALITY_METRIC_"
METRICS = {name.removeprefix(_PREFIX).lower(): value for name, value in QualityMetric.items() if value}
"""Every metric of a quality guard by its name, e.g. log_loss."""

_MANY = 2**63 - 1
_KEYS = ("steps", "min_requests", "min_duration", "max_duration", "false_alarm_rate", "guards")


def read_plan(document: Cursor) -> ReleasePlan:
    """Return the plan that `document` makes; what it leaves out is the registry's to choose.

    A value of 0 would stand for a default, and is refused.
    """
    members = document.mapping((), _KEYS)
    plan = ReleasePlan()
    if "steps" in members:
        plan.steps.extend(_read_steps(members["steps"]))
    if "min_requests" in members:
        plan.min_requests = members["min_requests"].integer(1, _MANY)
    if "min_duration" in members:
        plan.min_duration_ms = members["min_duration"].parsed(durations.parse_positive_ms)
    if "max_duration" in members:
        plan.max_duration_ms = members["max_duration"].parsed(durations.parse_positive_ms)
    if "false_alarm_rate" in members:
        plan.false_alarm_rate = _read_probability(members["false_alarm_rate"])
    if "guards" in members:
        _read_guards(members["guards"], plan)
    return plan


def _read_steps(cursor: Cursor) -> list[float]:
    steps = [item.percent() for item in cursor.items()]
    if not steps:
        cursor.fail("must hold shares of the candidate in percent, e.g. [5, 25, 50, 100]")
    return steps


def _read_probability(cursor: Cursor) -> float:
    number = cursor.number()
    if not 0 < number < 0.5:
        cursor.fail(f"{cursor.value} is not above 0 and below 0.5")
    return number


def _read_guards(cursor: Cursor, plan: ReleasePlan) -> None:
    guards = cursor.mapping((), ("error_rate", "latency", "quality"))
    if not guards:
        cursor.fail("must hold error_rate, latency or quality; leave it out for the defaults")
    if "error_rate" in guards:
        bound = guards["error_rate"].mapping(("max_increase",))["max_increase"]
        plan.error_rate.CopyFrom(ErrorRateGuard(max_increase=bound.at_least(0)))
    if "latency" in guards:
        bound = guards["latency"].mapping(("max_p99_ratio",))["max_p99_ratio"]
        plan.latency.CopyFrom(LatencyGuard(max_p99_ratio=bound.at_least(1)))
    if "quality" in guards:
        plan.quality.CopyFrom(_read_quality(guards["quality"]))


def _read_quality(cursor: Cursor) -> QualityGuard:
    members = cursor.mapping(("metric", "max_worsening"), ("min_outcomes",))
    guard = QualityGuard(metric=members["metric"].choice(METRICS), max_worsening=members["max_worsening"].at_least(0))
    if "min_outcomes" in members:
        guard.min_outcomes = members["min_outcomes"].integer(1, _MANY)
    return guard
