"""When the registry is as far as the caller."""

from __future__ import annotations

from collections import Counter

import pytest

from deploy.demo.flight_delay.release.board import Arm, Tally
from deploy.demo.flight_delay.release.control import counted, due
from predictmesh.registry.v1.release_pb2 import Release, ReleaseState
from predictmesh.registry.v1.release_service_pb2 import ArmEvidence, GetReleaseResponse, GuardVerdict, StepEvidence

RUNNING, HELD = ReleaseState.RELEASE_STATE_RUNNING, ReleaseState.RELEASE_STATE_HELD
PROMOTED = ReleaseState.RELEASE_STATE_PROMOTED
TALLY = Tally(
    answers=Counter({Arm(7, "1.0.0"): 30, Arm(7, "1.1.0"): 10, Arm(3, "1.0.0"): 99}),
    outcomes=Counter({Arm(7, "1.0.0"): 20, Arm(7, "1.1.0"): 5}),
)


def view(*steps: tuple[int, int, int, int]) -> GetReleaseResponse:
    """A release with requests and outcomes of both versions by step."""
    return GetReleaseResponse(
        release=Release(id=7, stable="1.0.0", candidate="1.1.0", state=RUNNING),
        steps=[
            StepEvidence(
                stable=ArmEvidence(requests=stable, outcomes=stable_outcomes),
                candidate=ArmEvidence(requests=candidate, outcomes=candidate_outcomes),
            )
            for stable, stable_outcomes, candidate, candidate_outcomes in steps
        ],
    )


@pytest.mark.parametrize(
    ("expected", "steps"),
    [
        (True, [(30, 20, 10, 5)]),
        (True, [(20, 15, 5, 5), (10, 5, 5, 0)]),
        (True, [(31, 20, 10, 5)]),
        (False, [(29, 20, 10, 5)]),
        (False, [(30, 19, 10, 5)]),
        (False, [(30, 20, 9, 5)]),
        (False, [(30, 20, 10, 4)]),
        (False, []),
    ],
)
def test_everything_that_the_caller_knows_of_the_release_must_count(
    expected: bool, steps: list[tuple[int, int, int, int]]
) -> None:
    """Whatever the step; a request that failed counts there and is not known here."""
    assert expected == counted(view(*steps), TALLY)


@pytest.mark.parametrize(
    ("expected", "state", "waiting_for", "violated"),
    [
        (False, RUNNING, ["3 more outcomes"], False),
        (True, RUNNING, [], False),
        (True, RUNNING, ["3 more outcomes"], True),
        (False, HELD, [], False),
        (True, HELD, [], True),
        (False, PROMOTED, [], False),
        (False, PROMOTED, [], True),
    ],
)
def test_the_controller_has_something_to_do(
    expected: bool, state: ReleaseState.ValueType, waiting_for: list[str], violated: bool
) -> None:
    """When a guard is violated, or nothing is waited for any more; until the release has ended."""
    found = GetReleaseResponse(
        release=Release(state=state),
        waiting_for=waiting_for,
        verdicts=[GuardVerdict(), GuardVerdict(violated=violated)],
    )
    assert expected == due(found)
