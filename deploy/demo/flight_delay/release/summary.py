"""What came of the releases: numbers for people and programs, and whether they are as they must be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deploy.demo.flight_delay.release.board import Arm, Tally
from predictmesh.registry.v1.quality_service_pb2 import VersionQuality
from predictmesh.registry.v1.release_pb2 import ReleaseState
from predictmesh.registry.v1.release_service_pb2 import ArmEvidence, GetReleaseResponse
from predictmesh.registry.v1.traffic_pb2 import ShadowTotals
from services.cli.labels import words

QUALITY = "quality"
"""Name of the guard that looks at outcomes."""
_STATES = "RELEASE_STATE_"


@dataclass(frozen=True)
class ArmSummary:
    """What one version did in a step, as the registry has it; `quality` is the guard's metric, None without outcomes."""

    version: str
    requests: int
    errors: int
    p99_ms: float
    outcomes: int
    quality: float | None


@dataclass(frozen=True)
class StepSummary:
    """What both versions did in a step."""

    percent: float
    stable: ArmSummary
    candidate: ArmSummary


@dataclass(frozen=True)
class ReleaseSummary:
    """A release from its start to its end, or to where the departures ran out.

    `answered` and `outcomes` are those of the candidate and `requests` those of both versions, as the caller counts
    them; `violated` names the guards that found the candidate worse.
    """

    stable: str
    candidate: str
    state: str
    reason: str
    requests: int
    answered: int
    outcomes: int
    violated: tuple[str, ...]
    steps: tuple[StepSummary, ...]


@dataclass(frozen=True)
class ShadowSummary:
    """How the answers of a shadow compare; `agreeing` rows differ by no more than the tolerance."""

    primary: str
    version: str
    rows: int
    agreeing: int
    tolerance: float
    largest_difference: float
    errors: int
    dropped: int


@dataclass(frozen=True)
class QualitySummary:
    """What the outcomes say of a version."""

    version: str
    outcomes: int
    auc: float | None
    log_loss: float | None
    calibration_error: float | None


@dataclass(frozen=True)
class Releases:
    """All of it: releases in their order, and at the end the version that answers without a pin.

    `metric` is that of the quality guard; of all `departures` that were asked about, `awaited` ones had not left at the end.
    """

    metric: str
    promoted: ReleaseSummary
    shadow: ShadowSummary
    rolled_back: ReleaseSummary
    quality: tuple[QualitySummary, ...]
    answered_by: str
    departures: int
    requests: int
    outcomes: int
    awaited: int
    failures: dict[str, int]
    seconds: float


def summarize_release(view: GetReleaseResponse, tally: Tally) -> ReleaseSummary:
    """Return the summary of a release from how the registry and the caller saw it."""
    release = view.release
    candidate = Arm(release.id, release.candidate)
    return ReleaseSummary(
        stable=release.stable,
        candidate=release.candidate,
        state=words(ReleaseState.Name, _STATES, release.state),
        reason=release.reason,
        requests=sum(count for arm, count in tally.answers.items() if arm.release_id == release.id),
        answered=tally.answers[candidate],
        outcomes=tally.outcomes[candidate],
        violated=tuple(dict.fromkeys(verdict.guard for verdict in view.verdicts if verdict.violated)),
        steps=tuple(
            StepSummary(step.percent, _arm(release.stable, step.stable), _arm(release.candidate, step.candidate))
            for step in view.steps
        ),
    )


def summarize_shadow(totals: ShadowTotals, tolerance: float) -> ShadowSummary:
    """Return the summary of a shadow that was compared with this tolerance."""
    return ShadowSummary(
        primary=totals.primary,
        version=totals.shadow,
        rows=totals.rows,
        agreeing=totals.tolerant_rows,
        tolerance=tolerance,
        largest_difference=max((example.difference for example in totals.worst), default=0.0),
        errors=totals.errors,
        dropped=totals.dropped,
    )


def summarize_quality(versions: Iterable[VersionQuality]) -> tuple[QualitySummary, ...]:
    """Return the summary of every version's quality."""
    return tuple(
        QualitySummary(
            version=each.version,
            outcomes=each.outcomes,
            auc=each.auc if each.HasField("auc") else None,
            log_loss=each.log_loss if each.HasField("log_loss") else None,
            calibration_error=each.calibration_error if each.HasField("calibration_error") else None,
        )
        for each in versions
    )


def problems(found: Releases) -> Sequence[str]:
    """Return what is not as it must be, each in a few words; empty if all checks hold."""
    good, bad, shadow = found.promoted, found.rolled_back, found.shadow
    checks = {
        f"{bad.candidate} was not rolled back: {bad.state}, {bad.reason}": bad.state == "rolled back",
        f"{bad.candidate} was taken back by {', '.join(bad.violated) or 'no guard'} instead of quality alone": (
            bad.violated == (QUALITY,)
        ),
        f"{bad.candidate} answered no request": bad.answered > 0,
        f"the shadow failed {shadow.errors} requests": not shadow.errors,
        f"in the end {found.answered_by} answers instead of {good.candidate}": found.answered_by == good.candidate,
    }
    for release in (good, bad):
        counted = sum(arm.requests for step in release.steps for arm in (step.stable, step.candidate))
        text = (
            f"the registry counts {counted:,} requests of the release of {release.candidate}, not {release.requests:,}"
        )
        checks[text] = counted == release.requests
    failures = [f"{number} failures: {message}" for message, number in found.failures.items()]
    return [*failures, *(problem for problem, holds in checks.items() if not holds)]


def _arm(version: str, evidence: ArmEvidence) -> ArmSummary:
    return ArmSummary(
        version=version,
        requests=evidence.requests,
        errors=evidence.errors,
        p99_ms=evidence.p99_us / 1e3,
        outcomes=evidence.outcomes,
        quality=evidence.quality if evidence.HasField("quality") else None,
    )
