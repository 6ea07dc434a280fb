"""The plan of a release from a file and options, of which options win; and the place of a fault in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import click

from predictmesh.registry.v1.release_pb2 import QualityGuard, ReleasePlan
from services.cli import durations
from services.cli.errors import Mistake
from services.cli.options import Command, gather
from services.cli.resources.files import read_plan_file
from services.cli.resources.plans import METRICS


class _Steps(click.ParamType[tuple[float, ...]]):
    """Shares in percent, separated by commas."""

    name = "percent,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the shares."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of percentages, e.g. 5,25,50,100", param, ctx)


class _Milliseconds(click.ParamType[int]):
    """A length of time above zero."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return milliseconds."""
        if isinstance(value, int):
            return value
        try:
            return durations.parse_positive_ms(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Quality(click.ParamType[QualityGuard]):
    """`METRIC:WORSENING`."""

    name = "metric:worsening"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> QualityGuard:
        """Return the guard."""
        if isinstance(value, QualityGuard):
            return value
        metric, _, worsening = str(value).partition(":")
        if metric not in METRICS:
            self.fail(f"{metric!r} is none of {', '.join(METRICS)}", param, ctx)
        try:
            return QualityGuard(metric=METRICS[metric], max_worsening=float(worsening))
        except ValueError:
            self.fail(f"{value!r} is not METRIC:WORSENING, e.g. auc:0.02", param, ctx)


@dataclass(frozen=True)
class PlanOptions:
    """What stands on the command line; None is what does not."""

    file: Path | None
    steps: tuple[float, ...] | None
    min_requests: int | None
    min_duration_ms: int | None
    max_duration_ms: int | None
    false_alarm_rate: float | None
    error_rate: float | None
    latency: float | None
    quality: QualityGuard | None
    min_outcomes: int | None

    def plan(self) -> ReleasePlan:
        """Return the plan that both make; what neither says is the registry's to choose."""
        plan = read_plan_file(self.file) if self.file else ReleasePlan()
        if self.steps is not None:
            plan.steps[:] = self.steps
        for name in ("min_requests", "min_duration_ms", "max_duration_ms", "false_alarm_rate"):
            if (value := getattr(self, name)) is not None:
                setattr(plan, name, value)
        if self.error_rate is not None:
            plan.error_rate.max_increase = self.error_rate
        if self.latency is not None:
            plan.latency.max_p99_ratio = self.latency
        self._add_quality(plan)
        return plan

    def _add_quality(self, plan: ReleasePlan) -> None:
        if self.quality is not None:
            plan.quality.metric, plan.quality.max_worsening = self.quality.metric, self.quality.max_worsening
        if self.min_outcomes is not None:
            if not plan.HasField("quality"):
                raise Mistake("--min-outcomes could not act: --quality METRIC:WORSENING says what they are for")
            plan.quality.min_outcomes = self.min_outcomes

    def named(self, text: str) -> str:
        """Return `text` with every path into a plan replaced by the option or the place in the file behind it."""
        return _PATH.sub(lambda match: self._place(match[1]), text)

    def _place(self, path: str) -> str:
        field = path if path == "quality.min_outcomes" else path.partition(".")[0].partition("[")[0]
        option = field.rpartition(".")[2]
        if self.file is None or getattr(self, option, None) is not None:
            return _NAMES.get(option, f"plan.{path}")
        guards = "guards." if field.partition(".")[0] in {"error_rate", "latency", "quality"} else ""
        return f"{self.file}, {guards}{path.removesuffix('_ms')}"


_PATH = re.compile(r"\bplan\.(\w+(?:\[\d+\])?(?:\.\w+)*)")

_NAMES: Mapping[str, str] = {
    "steps": "--steps",
    "min_requests": "--min-requests",
    "min_duration_ms": "--min-duration",
    "max_duration_ms": "--max-duration",
    "false_alarm_rate": "--false-alarm-rate",
    "error_rate": "--max-error-increase",
    "latency": "--max-p99-ratio",
    "quality": "--quality",
    "min_outcomes": "--min-outcomes",
}


def _option(
    field: str, kind: click.ParamType[object] | Callable[[str], object], help_text: str
) -> Callable[[Command], Command]:
    return click.option(_NAMES[field], field, type=kind, help=help_text)


# The most that the registry takes.
_COUNT = click.IntRange(1, 1_000_000_000)

_OPTIONS = (
    click.option(
        "-f", "--file", type=click.Path(dir_okay=False, path_type=Path), help="YAML of the plan; options win over it."
    ),
    _option("steps", _Steps(), "Shares of the candidate, the last of them 100.  [default: 5,25,50,100]"),
    _option("min_requests", _COUNT, "Requests that it answers in a step.  [default: 500]"),
    _option("min_duration_ms", _Milliseconds(), "Time that a step takes at least.  [default: 1m]"),
    _option("max_duration_ms", _Milliseconds(), "Time after which a step is held that lacks either.  [default: 1d]"),
    _option(
        "false_alarm_rate",
        click.FloatRange(0, 0.5, min_open=True, max_open=True),
        "Probability that a candidate within all limits is taken back.  [default: 0.01]",
    ),
    _option(
        "error_rate",
        click.FloatRange(0, 1, max_open=True),
        "Guard: its share of failed requests may be larger by so much.  [default: 0.01]",
    ),
    _option("latency", click.FloatRange(1), "Guard: its p99 may be so many times longer.  [default: 1.5]"),
    _option(
        "quality", _Quality(), f"Guard: by how much the metric may be worse; {', '.join(METRICS)}.  [default: none]"
    ),
    _option("min_outcomes", _COUNT, "Outcomes that it has in a step, with --quality.  [default: 100]"),
)


def planned(command: Command) -> Command:
    """Add what a plan consists of, given together as `plan`."""
    run = gather(command, "plan", PlanOptions, [field.name for field in fields(PlanOptions)])
    for option in reversed(_OPTIONS):
        run = option(run)
    return run  # type: ignore[return-value]  # the same command with other parameters
