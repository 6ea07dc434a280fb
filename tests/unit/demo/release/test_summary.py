"""The numbers of the releases and the verdict on them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from deploy.demo.flight_delay.release.board import Arm, Tally
from deploy.demo.flight_delay.release.summary import (
    ArmSummary,
    Releases,
    ReleaseSummary,
    ShadowSummary,
    StepSummary,
    problems,
    summarize_release,
)
from predictmesh.registry.v1.release_pb2 import Release, ReleaseState
from predictmesh.registry.v1.release_service_pb2 import ArmEvidence, GetReleaseResponse, GuardVerdict, StepEvidence

ARM = ArmSummary("1.1.0", requests=5, errors=0, p99_ms=9.0, outcomes=4, quality=0.4)
STEP = StepSummary(5, replace(ARM, version="1.0.0"), ARM)
PROMOTED = ReleaseSummary(
    stable="1.0.0",
    candidate="1.1.0",
    state="promoted",
    reason="50 % is done",
    requests=20,
    answered=10,
    outcomes=9,
    violated=(),
    steps=(STEP, replace(STEP, percent=25)),
)
ROLLED_BACK = replace(
    PROMOTED,
    stable="1.1.0",
    candidate="1.2.0",
    state="rolled back",
    violated=("quality",),
    requests=10,
    answered=5,
    steps=(STEP,),
)
SHADOW = ShadowSummary(
    primary="1.1.0",
    version="1.2.0",
    rows=50,
    agreeing=10,
    tolerance=0.01,
    largest_difference=0.5,
    errors=0,
    dropped=0,
)
GOOD = Releases(
    metric="log loss",
    promoted=PROMOTED,
    shadow=SHADOW,
    rolled_back=ROLLED_BACK,
    quality=(),
    answered_by="1.1.0",
    departures=40,
    requests=250,
    outcomes=200,
    awaited=50,
    failures={},
    seconds=9.0,
)


def test_releases_that_went_as_they_must_have_no_problems() -> None:
    """Whatever the figures."""
    assert [] == problems(GOOD)


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (replace(GOOD, failures={"no time [DEADLINE_EXCEEDED]": 2}), "2 failures"),
        (replace(GOOD, rolled_back=replace(ROLLED_BACK, state="promoted")), "1.2.0 was not rolled back: promoted"),
        (replace(GOOD, rolled_back=replace(ROLLED_BACK, violated=("latency_p99", "quality"))), "latency_p99, quality"),
        (replace(GOOD, rolled_back=replace(ROLLED_BACK, violated=())), "by no guard"),
        (replace(GOOD, rolled_back=replace(ROLLED_BACK, answered=0)), "1.2.0 answered no request"),
        (replace(GOOD, promoted=replace(PROMOTED, requests=21)), "counts 20 requests of the release of 1.1.0, not 21"),
        (replace(GOOD, shadow=replace(SHADOW, errors=1)), "the shadow failed 1"),
        (replace(GOOD, answered_by="1.2.0"), "in the end 1.2.0 answers"),
    ],
)
def test_each_check_can_fail(found: Releases, named: str) -> None:
    """One thing that is wrong is one problem, and it is named."""
    (problem,) = problems(found)
    assert named in problem


def test_a_release_is_summed_up_from_both_sides() -> None:
    """What the caller got by it, and the registry's evidence; a guard that is violated in two steps is named once."""
    view = GetReleaseResponse(
        release=Release(
            id=7, stable="1.1.0", candidate="1.2.0", state=ReleaseState.RELEASE_STATE_ROLLED_BACK, reason="worse"
        ),
        steps=[
            StepEvidence(
                percent=5,
                stable=ArmEvidence(requests=95, p99_us=8_500),
                candidate=ArmEvidence(requests=5, errors=1, outcomes=4, quality=0.9),
            )
        ],
        verdicts=[
            GuardVerdict(guard="error_rate"),
            GuardVerdict(guard="quality", violated=True),
            GuardVerdict(guard="quality", step=1, violated=True),
        ],
    )
    answers = Counter({Arm(7, "1.1.0"): 95, Arm(7, "1.2.0"): 4, Arm(0, "1.1.0"): 60})
    found = summarize_release(view, Tally(answers=answers, outcomes=Counter({Arm(7, "1.2.0"): 3})))
    assert ("rolled back", "worse", 99, 4, 3, ("quality",)) == (
        found.state,
        found.reason,
        found.requests,
        found.answered,
        found.outcomes,
        found.violated,
    )
    expected = StepSummary(5, ArmSummary("1.1.0", 95, 0, 8.5, 0, None), ArmSummary("1.2.0", 5, 1, 0.0, 4, 0.9))
    assert (expected,) == found.steps
