"""How a release stands, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import shorten

import click

from predictmesh.registry.v1.release_pb2 import QualityMetric, Release, ReleasePlan, ReleaseState
from predictmesh.registry.v1.release_service_pb2 import ArmEvidence, GetReleaseResponse, StepEvidence
from services.cli import durations
from services.cli.labels import words
from services.cli.output import print_pairs, print_table

_REASON_WIDTH = 60
_UNDER_WAY = {ReleaseState.RELEASE_STATE_RUNNING, ReleaseState.RELEASE_STATE_HELD}


def print_releases(releases: Sequence[Release]) -> None:
    """Print a line for the last release of each endpoint."""
    print_table(
        ["endpoint", "stable", "candidate", "state", "step", "since", "reason"],
        [
            (
                release.endpoint,
                release.stable,
                release.candidate,
                state_of(release),
                step_of(release),
                release.state_time.ToJsonString(),
                shorten(release.reason, _REASON_WIDTH, placeholder=" ..."),
            )
            for release in releases
        ],
        empty="no releases; `predictmesh release start` starts one",
    )


def print_release(response: GetReleaseResponse) -> None:
    """Print the release, the evidence of its steps, and what the guards make of that."""
    release = response.release
    print_pairs(
        {
            "release": f"{release.id} of {release.endpoint}: {release.candidate} in place of {release.stable}",
            "state": f"{state_of(release)}, {step_of(release)}, since {release.state_time.ToJsonString()}",
            "reason": release.reason,
            "waits for": ", ".join(response.waiting_for),
            **plan_pairs(release.plan),
            "forced": ", ".join(release.forced_gates),
            "revision": response.revision,
        }
    )
    click.echo()
    metric = _metric(release.plan) if release.plan.HasField("quality") else ""
    print_table(
        ["step", "share", "version", "requests", "errors", "p99", *(["outcomes", metric] if metric else [])],
        [row for step in response.steps for row in _step_rows(step, release, bool(metric))],
        empty="no requests yet",
    )
    if response.verdicts:
        click.echo()
        print_table(["step", "verdict"], [(verdict.step + 1, verdict.text) for verdict in response.verdicts])


def plan_pairs(plan: ReleasePlan) -> dict[str, str]:
    """Return what a plan of the registry's, every default filled in, says; nothing of a promotion at once."""
    if len(plan.steps) < 2:
        return {}
    shares = ", ".join(f"{percent:g}" for percent in plan.steps)
    least, most = durations.exact(plan.min_duration_ms), durations.exact(plan.max_duration_ms)
    return {
        "steps": f"{shares} %; each {plan.min_requests} requests and {least} at least, held after {most}",
        "guards": ", ".join(_guards(plan)),
        "false alarms": f"at most {100 * plan.false_alarm_rate:g} %",
    }


def _guards(plan: ReleasePlan) -> Iterator[str]:
    if plan.HasField("error_rate"):
        yield f"errors at most {100 * plan.error_rate.max_increase:g} % of the requests more"
    if plan.HasField("latency"):
        yield f"p99 at most {plan.latency.max_p99_ratio:g} times as long"
    if plan.HasField("quality"):
        quality = plan.quality
        yield f"{_metric(plan)} at most {quality.max_worsening:g} worse, by {quality.min_outcomes} outcomes a step"


def _metric(plan: ReleasePlan) -> str:
    return words(QualityMetric.Name, "QUALITY_METRIC_", plan.quality.metric).replace(" ", "_")


def state_of(release: Release) -> str:
    """Return the state in words, e.g. `rolled back`."""
    return words(ReleaseState.Name, "RELEASE_STATE_", release.state)


def step_of(release: Release) -> str:
    """Return where it stands, or stood at the end, e.g. `step 2 of 4: 25 %`."""
    steps = release.plan.steps
    share = f": {steps[release.step]:g} %" if release.step < len(steps) and release.state in _UNDER_WAY else ""
    return f"step {release.step + 1} of {len(steps)}{share}"


def _step_rows(step: StepEvidence, release: Release, with_quality: bool) -> Iterator[tuple[object, ...]]:
    for version, arm in ((release.stable, step.stable), (release.candidate, step.candidate)):
        percent = step.percent if version == release.candidate else 100 - step.percent
        quality = _quality(arm) if with_quality else ()
        p99 = durations.rounded(arm.p99_us) if arm.p99_us else ""
        yield step.step + 1, f"{percent:g} %", version, f"{arm.requests:,}", f"{arm.errors:,}", p99, *quality


def _quality(arm: ArmEvidence) -> tuple[object, ...]:
    return f"{arm.outcomes:,}", f"{arm.quality:.4g}" if arm.HasField("quality") else ""
