"""A plan is what file and options say together, options first; faults are named by where they were written."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from predictmesh.registry.v1.release_pb2 import QualityGuard, QualityMetric, ReleasePlan
from services.cli.errors import Mistake
from services.cli.releases.plans import PlanOptions

PLAN = """\
steps: [1, 10.5, 100]
min_requests: 2000
min_duration: 10m
max_duration: 2d
false_alarm_rate: 0.05
guards:
  error_rate: {max_increase: 0}
  latency: {max_p99_ratio: 1.2}
  quality: {metric: log_loss, max_worsening: 0.02, min_outcomes: 300}
"""


def options(**given: Any) -> PlanOptions:
    """Options of which only some are given."""
    return PlanOptions(**{field.name: None for field in fields(PlanOptions)} | given)


def written(directory: Path, text: str) -> Path:
    """Write a plan and return its path."""
    file = directory / "plan.yaml"
    file.write_text(text)
    return file


def test_file(tmp_path: Path) -> None:
    """Everything that a file says reaches the message, in the registry's units; a bound of 0 is one."""
    plan = options(file=written(tmp_path, PLAN)).plan()
    assert ([1, 10.5, 100], 2000, 600_000, 172_800_000, 0.05) == (
        list(plan.steps),
        plan.min_requests,
        plan.min_duration_ms,
        plan.max_duration_ms,
        plan.false_alarm_rate,
    )
    assert plan.HasField("error_rate")
    assert (0, 1.2) == (plan.error_rate.max_increase, plan.latency.max_p99_ratio)
    quality = QualityGuard(metric=QualityMetric.QUALITY_METRIC_LOG_LOSS, max_worsening=0.02, min_outcomes=300)
    assert quality == plan.quality


def test_nothing_said(tmp_path: Path) -> None:
    """What nobody says is left to the registry, also where a file says nothing."""
    assert ReleasePlan() == options().plan()
    assert ReleasePlan() == options(file=written(tmp_path, "{}")).plan()


def test_options_win(tmp_path: Path) -> None:
    """An option takes the place of what the file says, and of nothing else."""
    quality = QualityGuard(metric=QualityMetric.QUALITY_METRIC_AUC, max_worsening=0.1)
    plan = options(
        file=written(tmp_path, PLAN), steps=(50.0, 100.0), min_duration_ms=1, error_rate=0.5, quality=quality
    ).plan()
    assert ([50, 100], 1, 0.5, 1.2, 2000) == (
        list(plan.steps),
        plan.min_duration_ms,
        plan.error_rate.max_increase,
        plan.latency.max_p99_ratio,
        plan.min_requests,
    )
    assert (quality.metric, 0.1, 300) == (plan.quality.metric, plan.quality.max_worsening, plan.quality.min_outcomes)


def test_setting_that_could_not_act() -> None:
    """Outcomes are waited for by a quality guard only."""
    with pytest.raises(Mistake, match="--min-outcomes could not act: --quality"):
        options(min_outcomes=5).plan()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: []", r"steps: must hold shares"),
        ("steps: [5, 101]", r"steps\[1\]: 101 is no share in percent"),
        ("min_requests: 0", "min_requests: 0 is outside of 1 to"),
        ("min_duration: 0s", "min_duration: '0s' must be longer than nothing"),
        ("max_duration: 10", "max_duration: must be text, not a whole number 10: quote it"),
        ("false_alarm_rate: 0.5", "false_alarm_rate: 0.5 is not above 0 and below 0.5"),
        ("guards: {}", "guards: must hold error_rate, latency or quality"),
        ("guards: {errors: {}}", "guards.errors: unknown key"),
        ("guards: {error_rate: 0.1}", "guards.error_rate: must be a mapping, not a number 0.1"),
        ("guards: {latency: {max_p99_ratio: 0.9}}", "guards.latency.max_p99_ratio: 0.9 is less than 1"),
        ("guards: {quality: {metric: auc}}", "guards.quality: max_worsening is missing"),
        ("guards: {quality: {metric: f1, max_worsening: 1}}", "guards.quality.metric: 'f1' is none of auc, log_loss"),
        ("kind: ReleasePlan", "kind: unknown key"),
        ("a: 1\n---\nb: 1", "must hold one document"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    """Whatever is wrong with a file is refused before anything is sent, and the message says where it stands."""
    with pytest.raises(Mistake, match=message) as error:
        options(file=written(tmp_path, text)).plan()
    assert "plan.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("path", "by_option", "by_file"),
    [
        ("plan.steps[1]", "--steps", "plan.yaml, steps[1]"),
        ("plan.min_duration_ms", "--min-duration", "plan.yaml, min_duration"),
        ("plan.error_rate.max_increase", "--max-error-increase", "plan.yaml, guards.error_rate.max_increase"),
        ("plan.quality", "--quality", "plan.yaml, guards.quality"),
        ("plan.quality.metric", "--quality", "plan.yaml, guards.quality.metric"),
        ("plan.quality.min_outcomes", "--min-outcomes", "plan.yaml, guards.quality.min_outcomes"),
        ("plan.unheard_of", "plan.unheard_of", "plan.yaml, unheard_of"),
    ],
)
def test_places_of_faults(path: str, by_option: str, by_file: str) -> None:
    """A fault that the registry finds is told by the option, or by the place in the file."""
    assert f"{by_option}: is wrong; by plan. Yes" == options().named(f"{path}: is wrong; by plan. Yes")
    assert f"{by_file}: is wrong" == options(file=Path("plan.yaml")).named(f"{path}: is wrong")


def test_place_of_an_option_beside_a_file() -> None:
    """What an option says is not looked for in the file."""
    given = options(file=Path("plan.yaml"), steps=(1.0,), min_outcomes=3)
    assert "--steps, --min-outcomes, plan.yaml, guards.quality.metric" == given.named(
        "plan.steps[0], plan.quality.min_outcomes, plan.quality.metric"
    )
