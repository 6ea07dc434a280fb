"""`predictmesh release` against a service that answers as each test says."""

from __future__ import annotations

import json

import grpc
import pytest

from predictmesh.registry.v1 import release_service_pb2 as pb
from predictmesh.registry.v1.release_pb2 import ReleaseState
from services.cli.releases import following
from services.mesh.errors import Code, Reason, RemoteError
from tests.support.commands import run, succeed
from tests.support.release_service import answering, release, standing

RUNNING, HELD = ReleaseState.RELEASE_STATE_RUNNING, ReleaseState.RELEASE_STATE_HELD
PROMOTED, ROLLED_BACK = ReleaseState.RELEASE_STATE_PROMOTED, ReleaseState.RELEASE_STATE_ROLLED_BACK


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once."""
    monkeypatch.setattr(following, "POLL_S", 0.01)


def test_start() -> None:
    """What is asked for reaches the registry, and the answer says what will happen."""
    with answering(pb.StartReleaseResponse(revision=12, release=release())) as (service, address):
        printed = succeed(
            "release", "start", "delay", "candidate", "--steps", "5,25,50,100", "--quality", "auc:0.02",
            "--min-outcomes", 50, "--expected-revision", 11, "--reason", "better", "--registry", address,
        )  # fmt: skip
    (request,) = service.requests
    assert ("delay", "candidate", 11, "better") == (
        request.endpoint,
        request.candidate,
        request.expected_revision,
        request.reason,
    )
    assert (0.02, 50) == (request.plan.quality.max_worsening, request.plan.quality.min_outcomes)
    assert not request.force
    assert "release of delay started: 1.1.0 in place of 1.0.0; revision 12" == printed.splitlines()[0]


@pytest.mark.parametrize("option", ["--expected-revision", "--min-requests", "--min-outcomes"])
def test_numbers_that_no_message_holds(option: str) -> None:
    """They are refused by the option's name, before anything is sent."""
    outcome = run("release", "start", "delay", "candidate", "--quality", "auc:0.02", option, 10**23)
    assert outcome.code == 2
    assert f"Invalid value for '{option}'" in outcome.err


def test_revision_is_only_expected_where_it_is_given() -> None:
    """Without --expected-revision any will do, which 0 would not say."""
    with answering(pb.HoldReleaseResponse(revision=3, release=release(HELD))) as (service, address):
        assert "the release of delay is held at step 1 of 4: 5 %; revision 3\n" == succeed(
            "release", "hold", "delay", "--registry", address
        )
        succeed("release", "hold", "delay", "--expected-revision", 0, "--registry", address)
    assert [False, True] == [request.HasField("expected_revision") for request in service.requests]


def test_lost_race() -> None:
    """Of two who change one endpoint, the second is told the present revision and how to see what has happened."""
    conflict = RemoteError(
        Code.ABORTED,
        Reason.REVISION_CONFLICT,
        "the registry is at revision 12, not 11: look again, then retry",
        field="expected_revision",
    )
    with answering(conflict) as (_, address):
        outcome = run("release", "rollback", "delay", "--expected-revision", 11, "--registry", address)
    assert (1, 1) == (outcome.code, outcome.err.count("\n"))
    assert "the registry is at revision 12, not 11" in outcome.err
    assert "(--expected-revision; `predictmesh events` shows who changed what" in outcome.err


@pytest.mark.parametrize(
    ("command", "answer", "text"),
    [
        ("resume", pb.ResumeReleaseResponse(revision=4, release=release(step=2)), "goes on at step 3 of 4: 50 %"),
        ("promote", pb.PromoteResponse(revision=4, release=release(PROMOTED, 3)), "has ended: 1.1.0 answers"),
        ("rollback", pb.RollbackResponse(revision=4, release=release(ROLLED_BACK)), "is rolled back: 1.0.0 answers"),
    ],
)
def test_changes(command: str, answer: object, text: str) -> None:
    """Each change says what holds from now on; as JSON it is the answer itself."""
    with answering(answer) as (_, address):
        assert f"the release of delay {text}; revision 4\n" == succeed(
            "release", command, "delay", "--registry", address
        )
        assert (
            "delay"
            == json.loads(succeed("release", command, "delay", "--json", "--registry", address))["release"]["endpoint"]
        )


def test_fault_of_a_plan_is_named_by_its_option() -> None:
    """What the registry refuses is told by what was typed."""
    fault = RemoteError(
        Code.INVALID_ARGUMENT, Reason.INVALID_DEFINITION, "plan.steps: shares ascend", field="plan.steps"
    )
    with answering(fault) as (_, address):
        outcome = run("release", "start", "delay", "1.1.0", "--steps", "50,5,100", "--registry", address)
    assert (2, "error: --steps: shares ascend [INVALID_DEFINITION]\n") == (outcome.code, outcome.err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "5;25"], "'5;25' is no list of percentages"),
        (["--quality", "auc"], "'auc' is not METRIC:WORSENING"),
        (["--quality", "f1:0.1"], "'f1' is none of auc"),
        (["--min-duration", "0s"], "must be longer than nothing"),
        (["--false-alarm-rate", "0.5"], "0.5 is not in the range"),
        (["--max-p99-ratio", "0.5"], "0.5 is not in the range"),
        (["--min-requests", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    """What cannot be is refused before anything is sent."""
    outcome = run("release", "start", "delay", "1.1.0", *arguments)
    assert (2, 1) == (outcome.code, outcome.err.count("\n"))
    assert message in outcome.err


def test_watching_needs_an_endpoint() -> None:
    """All releases at once are listed, not followed."""
    outcome = run("release", "status", "--watch")
    assert (2, True) == (outcome.code, "--watch needs an ENDPOINT" in outcome.err)


def test_watching_to_promotion() -> None:
    """Each step is told once, however often it is looked at, and promotion is success."""
    answers = [standing(), standing(), standing(step=1, reason="5 % is done"), standing(PROMOTED, 3, reason="done")]
    with answering(*answers) as (service, address):
        printed = succeed("release", "status", "delay", "--watch", "--registry", address)
    assert 4 == len(service.requests)
    assert [
        "1.1.0 running, step 1 of 4: 5 %",
        "1.1.0 running, step 2 of 4: 25 %",
        "  5 % is done",
        "1.1.0 promoted, step 4 of 4",
        "  done",
    ] == [line.partition("  ")[2] for line in printed.splitlines()]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (HELD, "error: the release of delay is held: worse (`predictmesh release resume` lets it go on"),
        (ROLLED_BACK, "error: the release of delay was rolled back: worse"),
    ],
)
def test_watching_to_another_end(state: ReleaseState.ValueType, message: str) -> None:
    """A release that is held or rolled back is exit code 1, with the reason; as JSON there is a line for each state."""
    with answering(standing(), standing(state, reason="worse")) as (_, address):
        outcome = run("release", "status", "delay", "--watch", "--json", "--registry", address)
    assert 1 == outcome.code
    assert outcome.err.startswith(message)
    assert 2 == len([json.loads(line) for line in outcome.out.splitlines()])


def test_end_without_a_reason() -> None:
    """Where an operator gave no reason, none is promised."""
    with answering(standing(ROLLED_BACK)) as (_, address):
        outcome = run("release", "status", "delay", "--watch", "--registry", address)
    assert "error: the release of delay was rolled back\n" == outcome.err


def test_start_and_wait() -> None:
    """What is started can be followed by the same command."""
    with answering(pb.StartReleaseResponse(release=release()), standing(), standing(PROMOTED, 3)) as (service, address):
        printed = succeed("release", "start", "delay", "1.1.0", "--wait", "--registry", address)
    assert ["StartReleaseRequest", "GetReleaseRequest", "GetReleaseRequest"] == [
        type(request).__name__ for request in service.requests
    ]
    assert "promoted" in printed.splitlines()[-1]


def test_registry_that_goes_away_is_waited_for() -> None:
    """A registry that is started again in the midst of a release ends no watch."""
    answers = [standing(), grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, standing(PROMOTED, 3)]
    with answering(*answers) as (service, address):
        succeed("release", "status", "delay", "--watch", "--registry", address)
    assert 4 == len(service.requests)


def test_registry_that_stays_away() -> None:
    """Patience ends with --timeout; at the first look there is none."""
    with answering(standing(), grpc.StatusCode.UNAVAILABLE) as (_, address):
        outcome = run("release", "status", "delay", "--watch", "--timeout", "200ms", "--registry", address)
        assert (1, True) == (outcome.code, "cannot reach the registry" in outcome.err)
    with answering(grpc.StatusCode.UNAVAILABLE) as (service, address):
        run("release", "status", "delay", "--watch", "--registry", address)
        assert 1 == len(service.requests)


def test_other_release_ends_the_watch() -> None:
    """A watch never passes one release off as another."""
    with answering(standing(), standing(id=8)) as (_, address):
        outcome = run("release", "status", "delay", "--watch", "--registry", address)
    assert (1, True) == (outcome.code, "has ended, and release 8 has begun" in outcome.err)


def test_gates() -> None:
    """Gates are shown with what to do, and one that is not passed is exit code 1."""
    passed = pb.Gate(name="ready", passed=True, message="READY on onnx")
    failed = pb.Gate(name="metric/auc", message="0.6 is below 0.7", remedy="register a better version")
    with answering(pb.CheckGatesResponse(gates=[passed]), pb.CheckGatesResponse(gates=[passed, failed])) as (
        _,
        address,
    ):
        assert "ready  yes     READY on onnx" in succeed("release", "gates", "delay", "1.1.0", "--registry", address)
        outcome = run("release", "gates", "delay", "1.1.0", "--registry", address)
    assert "error: delay 1.1.0 may not answer callers: metric/auc [GATE_FAILED]\n" == outcome.err
    assert (1, True) == (outcome.code, "register a better version" in outcome.out)
