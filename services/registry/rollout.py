"""What becomes of a release: a pure function of where it stands, of what its versions have shown, and of the time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.registry.definitions import Release, ReleaseState
from services.registry.evidence import ArmEvidence, StepEvidence
from services.registry.guards import Finding, find, verdicts
from services.registry.quality.comparison import lacking

__all__ = ["Advance", "Decision", "Hold", "Promote", "RollBack", "Wait", "decide", "verdicts"]


@dataclass(frozen=True, slots=True)
class Wait:
    """Leave it as it is, until these are there."""

    waiting_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Advance:
    """Go to the step of that index."""

    step: int
    reason: str


@dataclass(frozen=True, slots=True)
class Promote:
    """Let the candidate answer everything."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Stay at the step until somebody resumes it."""

    reason: str


@dataclass(frozen=True, slots=True)
class RollBack:
    """Let the stable version answer everything."""

    reason: str


Decision = Wait | Advance | Promote | Hold | RollBack


def decide(release: Release, evidence: Sequence[StepEvidence], now: datetime) -> Decision:
    """The next move of a release. Evidence of every step so far counts: labels of an earlier one may be late."""
    if not release.state.under_way:
        return Wait()
    found = list(find(release, evidence))
    violations = [finding for finding in found if finding.violated]
    if violations:
        return RollBack(_told(release, violations))
    if release.state is ReleaseState.HELD:
        return Wait(("somebody to resume it",))
    missing = _missing(release, evidence, now)
    if not missing:
        return _onward(release, found)
    if now - release.step_time >= timedelta(milliseconds=release.plan.max_duration_ms):
        return Hold(f"{release.percent:g} % for longer than max_duration, and still waiting for {', '.join(missing)}")
    return Wait(missing)


def _onward(release: Release, found: Sequence[Finding]) -> Advance | Promote:
    here = [finding for finding in found if finding.step == release.step]
    reason = f"{release.percent:g} % is done: {_told(release, here) or 'no guard has found fault'}"
    following = release.step + 1
    if following >= len(release.plan.steps) - 1:
        return Promote(reason)
    return Advance(following, reason)


def _told(release: Release, findings: Sequence[Finding]) -> str:
    return "; ".join(finding.verdict(release).text for finding in findings)


def _missing(release: Release, evidence: Sequence[StepEvidence], now: datetime) -> tuple[str, ...]:
    """What the present step still lacks."""
    here = next((each for each in evidence if each.step == release.step), StepEvidence(release.step))
    plan = release.plan
    left = timedelta(milliseconds=plan.min_duration_ms) - (now - release.step_time)
    missing = []
    if here.candidate.requests < plan.min_requests:
        missing.append(f"{plan.min_requests - here.candidate.requests} more requests of {release.candidate}")
    if not here.stable.requests:
        # There is nothing to compare the candidate with.
        missing.append(f"requests of {release.stable}")
    if left > timedelta():
        missing.append(f"{math.ceil(left.total_seconds())} s to pass")
    return (*missing, *_missing_outcomes(release, here))


def _missing_outcomes(release: Release, here: StepEvidence) -> list[str]:
    guard = release.plan.quality
    if not guard:
        return []
    rows = here.candidate.outcomes.n if here.candidate.outcomes else 0
    if rows < guard.min_outcomes:
        return [f"{guard.min_outcomes - rows} more outcomes of {release.candidate}"]
    arms: dict[str, ArmEvidence] = {release.stable: here.stable, release.candidate: here.candidate}
    return [f"{each} of {version}" for version, arm in arms.items() for each in lacking(guard.metric, arm.outcomes)]
