"""What becomes of a release, by where it stands, what its versions have shown, and the time."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.registry.definitions import (
    ErrorRateGuard,
    LatencyGuard,
    QualityGuard,
    QualityMetric,
    Release,
    ReleasePlan,
    ReleaseState,
)
from services.registry.evidence import ArmEvidence, StepEvidence
from services.registry.plans import completed
from services.registry.quality.measures import ScoreCounts
from services.registry.rollout import Advance, Hold, Promote, RollBack, Wait, decide, verdicts

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(seconds=60)
# Bins of times: 6 ms, and 8 times as long.
FAST, SLOW = 100, 124


def release(step: int = 0, state: ReleaseState = ReleaseState.RUNNING, plan: ReleasePlan | None = None) -> Release:
    """1.1.0 on its way to replace 1.0.0, with the guards of the default plan."""
    return Release(
        endpoint="arrivals",
        id=7,
        stable="1.0.0",
        candidate="1.1.0",
        plan=completed(plan or ReleasePlan()),
        state=state,
        step=step,
        start_time=START,
        step_time=START,
        state_time=START,
    )


QUALITY = ReleasePlan(
    error_rate=ErrorRateGuard(0.01), quality=QualityGuard(QualityMetric.AUC, max_worsening=0.02, min_outcomes=200)
)


def arm(
    requests: int, errors: int = 0, time: int = FAST, tail: int = FAST + 12, outcomes: ScoreCounts | None = None
) -> ArmEvidence:
    """A version whose slowest fiftieth takes `tail`, the others `time`."""
    slow = requests // 50
    return ArmEvidence(requests, errors, {time: requests - errors - slow, tail: slow}, outcomes)


def scored(rows: int, skill: float, seed: int = 5) -> ScoreCounts:
    """Rows, one in five of label 1, that the scores tell apart by `skill` standard deviations."""
    rng = np.random.default_rng(seed)
    labels = rng.random(rows) < 0.2
    return ScoreCounts.of(1 / (1 + np.exp(1.5 - skill * labels - rng.standard_normal(rows))), labels)


def test_nothing_is_said_of_what_nobody_has_asked() -> None:
    """Without evidence there is no verdict, and everything to wait for."""
    assert () == verdicts(release(), ())
    lacking = ("500 more requests of 1.1.0", "requests of 1.0.0", "60 s to pass")
    assert Wait(lacking) == decide(release(), (), START)


def test_a_step_lasts_until_it_has_requests_and_time() -> None:
    """Both, not one of them."""
    enough, few = StepEvidence(0, arm(9500), arm(500)), StepEvidence(0, arm(9500), arm(499))
    assert Wait(("60 s to pass",)) == decide(release(), [enough], START)
    assert Wait(("1 s to pass",)) == decide(release(), [enough], LATER - timedelta(seconds=0.5))
    assert Wait(("1 more requests of 1.1.0",)) == decide(release(), [few], LATER)
    assert Wait(("requests of 1.0.0",)) == decide(release(), [StepEvidence(0, ArmEvidence(), arm(500))], LATER)
    assert isinstance(decide(release(), [enough], LATER), Advance)


def test_a_step_that_is_done_leads_to_the_next_with_the_figures_behind_it() -> None:
    """Of that step."""
    decision = decide(release(), [StepEvidence(0, arm(9500, 95), arm(500, 5))], LATER)
    assert isinstance(decision, Advance)
    assert 1 == decision.step
    assert decision.reason.startswith("5 % is done: error_rate 1 % (")
    assert "of 1.1.0 at 5 % against 1 % (" in decision.reason
    assert "not shown to be higher by more than 1 %; latency_p99 " in decision.reason


def test_the_evidence_of_steps_before_does_not_count_as_that_of_this_one() -> None:
    """Each has its own minimum."""
    done, now = StepEvidence(0, arm(9500), arm(500)), StepEvidence(1, arm(30), arm(10))
    assert Wait(("490 more requests of 1.1.0",)) == decide(release(step=1), [done, now], LATER)


def test_the_step_before_100_percent_leads_to_promotion() -> None:
    """Reaching 100 is promotion."""
    evidence = [StepEvidence(step, arm(5000), arm(5000)) for step in range(3)]
    assert isinstance(decide(release(step=1), evidence[:2], LATER), Advance)
    promoted = decide(release(step=2), evidence, LATER)
    assert isinstance(promoted, Promote)
    assert promoted.reason.startswith("50 % is done: ")


def test_a_candidate_that_fails_more_is_taken_back_at_once() -> None:
    """Before its step is done, with the figures."""
    decision = decide(release(), [StepEvidence(0, arm(2000, 20), arm(100, 30))], START)
    assert isinstance(decision, RollBack)
    assert decision.reason.startswith("error_rate 30 % (1")
    assert decision.reason.endswith(" of 1.0.0: higher by more than 1 %")


def test_a_slower_candidate_is_taken_back() -> None:
    """Eight times as slow throughout."""
    decision = decide(release(), [StepEvidence(0, arm(9500), arm(500, time=SLOW, tail=SLOW + 12))], START)
    assert isinstance(decision, RollBack)
    assert decision.reason.startswith("latency_p99 ")
    assert decision.reason.endswith(": more than 1.5 times as long")


def test_a_candidate_that_predicts_worse_is_taken_back() -> None:
    """Though it is as fast and fails as seldom."""
    evidence = StepEvidence(
        0, arm(9500, 95, outcomes=scored(9000, 1.0)), arm(500, 5, outcomes=scored(480, 0.0, seed=6))
    )
    decision = decide(release(plan=QUALITY), [evidence], START)
    assert isinstance(decision, RollBack)
    assert decision.reason.startswith("auc 0.49 (")
    assert decision.reason.endswith("of 1.0.0: worse by more than 0.02")


def test_a_label_that_is_late_counts_to_its_step() -> None:
    """Also while a later step is under way."""
    before = StepEvidence(0, arm(9500, outcomes=scored(9000, 1.0)), arm(500, outcomes=scored(480, 0.0, seed=6)))
    now = StepEvidence(1, arm(3), arm(1))
    assert isinstance(decide(release(step=1, plan=QUALITY), [before, now], LATER), RollBack)


def test_a_held_release_is_guarded_but_does_not_go_on() -> None:
    """Whatever it has."""
    held = release(state=ReleaseState.HELD)
    assert Wait(("somebody to resume it",)) == decide(held, [StepEvidence(0, arm(9500), arm(500))], LATER)
    assert isinstance(decide(held, [StepEvidence(0, arm(2000, 20), arm(100, 30))], LATER), RollBack)


@pytest.mark.parametrize("state", [ReleaseState.PROMOTED, ReleaseState.ROLLED_BACK])
def test_nothing_becomes_of_a_release_that_has_ended(state: ReleaseState) -> None:
    """However bad it was."""
    assert Wait() == decide(release(step=2, state=state), [StepEvidence(0, arm(2000, 20), arm(100, 90))], LATER)


def test_a_release_that_was_made_at_once_has_nothing_to_guard() -> None:
    """Its plan has one step and no guard."""
    at_once = replace(release(state=ReleaseState.PROMOTED), plan=ReleasePlan(steps=(100.0,), false_alarm_rate=0.01))
    assert () == verdicts(at_once, [StepEvidence(0, arm(100), arm(100))])


def test_a_step_that_lacks_something_for_too_long_is_held() -> None:
    """And says what it lacks; one that lacks nothing goes on however late it is."""
    day = START + timedelta(days=1)
    few, enough = StepEvidence(0, arm(100), arm(5)), StepEvidence(0, arm(9500), arm(500))
    assert isinstance(decide(release(), [few], day - timedelta(seconds=1)), Wait)
    held = decide(release(), [few], day)
    assert isinstance(held, Hold)
    assert held.reason.endswith("still waiting for 495 more requests of 1.1.0")
    assert isinstance(decide(release(), [enough], day), Advance)


def test_a_quality_guard_waits_for_outcomes() -> None:
    """First for as many as the plan says, then for as many of each label as it takes to compare, of both versions."""
    waiting = [
        (None, None, "200 more outcomes of 1.1.0"),
        (None, scored(150, 1.0), "50 more outcomes of 1.1.0"),
        (scored(5000, 1.0), ScoreCounts.of([0.2] * 300, [0] * 297 + [1] * 3), "7 more of label 1 of 1.1.0"),
        (None, scored(300, 1.0), "30 more outcomes of 1.0.0"),
    ]
    for stable, candidate, missing in waiting:
        step = StepEvidence(0, arm(9500, outcomes=stable), arm(500, outcomes=candidate))
        assert Wait((missing,)) == decide(release(plan=QUALITY), [step], LATER)
    step = StepEvidence(0, arm(9500, outcomes=scored(5000, 1.0)), arm(500, outcomes=scored(300, 1.0, seed=6)))
    assert isinstance(decide(release(plan=QUALITY), [step], LATER), Advance)


def test_verdicts_are_of_each_guard_and_step_and_quality_of_all_steps() -> None:
    """With the bounds that the text shows."""
    plan = replace(QUALITY, latency=LatencyGuard(1.5))
    evidence = [
        StepEvidence(step, arm(9500, 95, outcomes=scored(9000, 1.0)), arm(500, 5, outcomes=scored(400, 1.0, seed=6)))
        for step in range(2)
    ]
    found = verdicts(release(step=1, plan=plan), evidence)
    assert [("error_rate", 0), ("latency_p99", 0), ("error_rate", 1), ("latency_p99", 1), ("quality", 1)] == [
        (verdict.guard, verdict.step) for verdict in found
    ]
    assert not any(verdict.violated for verdict in found)
    errors, latency, *_, quality = found
    assert 0 < errors.stable_low < 0.01 < errors.stable_high < errors.candidate_high
    assert f"error_rate 1 % ({100 * errors.candidate_low:.3g} % to {100 * errors.candidate_high:.3g} %)" in errors.text
    assert 6_000 < latency.stable_low < latency.stable_high < 20_000
    assert 0.5 < quality.candidate_low < quality.stable_low < quality.stable_high < 1
    assert "of 1.1.0 up to 25 % against" in quality.text


def test_bounds_that_are_still_open_are_told_so() -> None:
    """It takes more than a hundred requests to say what one in a hundred exceeds."""
    errors, latency = verdicts(release(), [StepEvidence(0, arm(9500), arm(100))])
    assert 1.0 > errors.candidate_high > errors.candidate_low == 0.0
    assert math.inf == latency.candidate_high
    assert " ms or more) of 1.1.0 at 5 % against" in latency.text


def test_more_guards_and_steps_ask_for_more_evidence() -> None:
    """The false-alarm rate is that of the whole release."""

    def width(plan: ReleasePlan) -> float:
        verdict = verdicts(release(plan=plan), [StepEvidence(0, arm(9500, 95), arm(500, 5))])[0]
        return verdict.candidate_high - verdict.candidate_low

    errors = ErrorRateGuard(0.01)
    alone = width(ReleasePlan(steps=(5, 100), error_rate=errors))
    assert alone < width(ReleasePlan(steps=(5, 100), error_rate=errors, quality=QUALITY.quality))
    assert alone < width(ReleasePlan(steps=(5, 25, 50, 100), error_rate=errors))
    assert alone < width(ReleasePlan(steps=(5, 100), error_rate=errors, false_alarm_rate=0.001))
