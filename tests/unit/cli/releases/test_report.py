"""How a release stands, as people read it."""

from __future__ import annotations

import pytest

from predictmesh.registry.v1.release_pb2 import QualityGuard, QualityMetric, ReleaseState
from predictmesh.registry.v1.release_service_pb2 import ArmEvidence, GuardVerdict, StepEvidence
from services.cli.releases.report import plan_pairs, print_release, print_releases
from tests.support.release_service import plan, release, standing

QUALITY = QualityGuard(metric=QualityMetric.QUALITY_METRIC_LOG_LOSS, max_worsening=0.02, min_outcomes=100)


def test_release_with_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each version of each step, with shares that make 100, then what the guards say of the steps."""
    response = standing(step=1, plan=plan(quality=QUALITY), reason="5 % is done", waiting_for=["60 s to pass"])
    stable = ArmEvidence(requests=9_500, errors=2, p99_us=12_345, outcomes=1_200, quality=0.41234)
    response.steps.append(StepEvidence(step=0, percent=5, stable=stable, candidate=ArmEvidence(requests=500)))
    response.verdicts.append(GuardVerdict(guard="error_rate", step=0, text="errors are the same"))
    print_release(response)
    lines = capsys.readouterr().out.splitlines()
    pairs = dict(line.split("  ", 1) for line in lines[: lines.index("")])
    assert "7 of delay: 1.1.0 in place of 1.0.0" == pairs["release"].strip()
    assert "running, step 2 of 4: 25 %, since 2013-10-01T00:00:00Z" == pairs["state"].strip()
    assert "5 % is done" == pairs["reason"].strip()
    assert "60 s to pass" == pairs["waits for"].strip()
    head, first, second, *rest = (line.split() for line in lines[lines.index("") + 1 :])
    assert ["step", "share", "version", "requests", "errors", "p99", "outcomes", "log_loss"] == head
    assert ["1", "95", "%", "1.0.0", "9,500", "2", "12.3", "ms", "1,200", "0.4123"] == first
    # Nothing was measured of the candidate but the requests.
    assert ["1", "5", "%", "1.1.0", "500", "0", "0"] == second
    assert ["1", "errors", "are", "the", "same"] == rest[-1]


def test_release_without_outcomes(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a quality guard nothing is said of outcomes; without evidence it is said that there is none."""
    print_release(standing())
    printed = capsys.readouterr().out
    assert "(no requests yet)" in printed
    assert "outcomes" not in printed


def test_plan() -> None:
    """A plan says its steps, what acts, and how often that may be wrong."""
    assert {
        "steps": "5, 25, 50, 100 %; each 500 requests and 1m at least, held after 1d",
        "guards": "errors at most 1 % of the requests more, p99 at most 1.5 times as long, "
        "log_loss at most 0.02 worse, by 100 outcomes a step",
        "false alarms": "at most 1 %",
    } == plan_pairs(plan(quality=QUALITY, latency={"max_p99_ratio": 1.5}))


@pytest.mark.parametrize(
    ("state", "step", "words"),
    [
        (ReleaseState.RELEASE_STATE_HELD, 1, ["held", "step", "2", "of", "4:", "25", "%"]),
        (ReleaseState.RELEASE_STATE_PROMOTED, 3, ["promoted", "step", "4", "of", "4"]),
        (ReleaseState.RELEASE_STATE_ROLLED_BACK, 0, ["rolled", "back", "step", "1", "of", "4"]),
    ],
)
def test_list(capsys: pytest.CaptureFixture[str], state: ReleaseState.ValueType, step: int, words: list[str]) -> None:
    """Each endpoint's last release takes a line; a share stands only where it is still given."""
    print_releases([release(state, step, reason="so it is")])
    line = capsys.readouterr().out.splitlines()[1].split()
    assert ["delay", "1.0.0", "1.1.0", *words, "2013-10-01T00:00:00Z", "so", "it", "is"] == line


def test_no_releases(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list says how to make it longer."""
    print_releases([])
    assert "(no releases; `predictmesh release start` starts one)" in capsys.readouterr().out
