"""What is made of the answers of a ladder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.demo.flight_delay.outage.log import Log
from deploy.demo.flight_delay.outage.report import print_outage
from deploy.demo.flight_delay.outage.summary import Outage, StepSummary, problems, summarize
from deploy.demo.flight_delay.replay import Departure
from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import Degradation, DegradationReason, LadderStep, LadderStepKind, Provenance
from predictmesh.types.v1.tensor_pb2 import Tensor

ROUTE = LadderStep(
    kind=LadderStepKind.LADDER_STEP_KIND_ROUTE, version="1.1.0", reason="UNREACHABLE", message="gone", duration_us=2_000
)
SIMPLER = LadderStep(
    kind=LadderStepKind.LADDER_STEP_KIND_VERSION, version="1.0.0", reason="BREAKER_OPEN", duration_us=100
)
NONE_KEPT = LadderStep(kind=LadderStepKind.LADDER_STEP_KIND_LAST_ANSWER, reason="NOT_FOUND")
LAST = LadderStep(kind=LadderStepKind.LADDER_STEP_KIND_LAST_ANSWER, version="1.1.0", answered_rows=[0], age_ms=1_500)
STATIC = LadderStep(kind=LadderStepKind.LADDER_STEP_KIND_ANSWER, answered_rows=[0])
GOOD = Outage(
    back_s=2.5,
    steps=(StepSummary("route", "1.1.0", 4, {"UNREACHABLE": 3}, 2.0),),
    messages={"UNREACHABLE": "gone"},
    last_answers=2,
    oldest_ms=1_500,
    changed=0,
    static_answers=1,
    silent=0,
    p50_ms=3,
    p99_ms=8,
    failures={},
)


def departure(tail: str) -> Departure:
    """The one of an aircraft."""
    return Departure(entities={"tailnum": tail}, features={}, as_of=0, departed=0, late=False, scores={})


def answer(score: float, *ladder: LadderStep, tells: bool = True) -> PredictResponse:
    """An answer by the ladder's last step; by the route without one."""
    provenance = Provenance(version="" if ladder else "1.1.0", ladder=ladder)
    if ladder and tells:
        provenance.degradations.append(Degradation(reason=DegradationReason.DEGRADATION_REASON_FALLBACK))
    return PredictResponse(outputs=[Tensor(name="probability", floats=[score])], provenance=provenance)


@pytest.fixture
def logs() -> tuple[Log, Log]:
    """Of an outage in which the static answer stood in for what nobody had asked before."""
    before, during = Log(), Log()
    before.add(departure("N1"), answer(0.25), 0.001)
    during.add(departure("N1"), answer(0.25, ROUTE, SIMPLER, LAST), 0.002)
    during.add(departure("N2"), answer(0.2, ROUTE, SIMPLER, NONE_KEPT, STATIC), 0.004)
    during.add(departure("N2"), answer(0.3), 0.001)
    return before, during


def test_answers_are_counted_by_step_and_what_is_left_by_reason(logs: tuple[Log, Log]) -> None:
    """In the order of the ladder; a last answer counts as one whoever made it."""
    found = summarize(*logs, back_s=1.0)
    assert [
        StepSummary("route", "1.1.0", 1, {"UNREACHABLE": 2}, 2.0),
        StepSummary("version", "1.0.0", 0, {"BREAKER_OPEN": 2}, 0.1),
        StepSummary("last answer", "", 1, {"NOT_FOUND": 1}, 0.0),
        StepSummary("static answer", "", 1, {}, 0.0),
    ] == list(found.steps)
    assert (1, 1, 0, 0, 1_500) == (
        found.last_answers,
        found.static_answers,
        found.changed,
        found.silent,
        found.oldest_ms,
    )
    assert [] == problems(found)


def test_a_last_answer_that_was_never_given_is_told(logs: tuple[Log, Log]) -> None:
    """For these keys, that is."""
    before, during = logs
    during.add(departure("N1"), answer(0.26, ROUTE, SIMPLER, LAST), 0.002)
    during.add(departure("N3"), answer(0.25, ROUTE, SIMPLER, LAST), 0.002)
    assert 2 == summarize(before, during, 1.0).changed


def test_an_answer_of_the_ladder_that_does_not_say_so_is_told(logs: tuple[Log, Log]) -> None:
    """The ladder in the provenance is not enough: callers look at degradations."""
    before, during = logs
    during.add(departure("N2"), answer(0.2, ROUTE, STATIC, tells=False), 0.002)
    assert 1 == summarize(before, during, 1.0).silent


@pytest.mark.parametrize(
    ("outage", "named"),
    [
        (replace(GOOD, failures={"gone [UNREACHABLE]": 2}), "2 failures"),
        (replace(GOOD, last_answers=0), "no last answer"),
        (replace(GOOD, static_answers=0), "the static answer was not given"),
        (replace(GOOD, changed=3), "3 last answers"),
        (replace(GOOD, silent=4), "4 answers"),
    ],
)
def test_each_check_can_fail(outage: Outage, named: str) -> None:
    """One wrong number is one problem, and it is named."""
    assert [] == problems(GOOD)
    (problem,) = problems(outage)
    assert named in problem


def test_the_report_tells_why_each_step_was_left(logs: tuple[Log, Log], capsys: pytest.CaptureFixture[str]) -> None:
    """A line a step."""
    print_outage(summarize(*logs, back_s=2.5))
    text = capsys.readouterr().out
    assert "version        1.0.0    0         100 us  BREAKER_OPEN 2" in text
    assert "UNREACHABLE   gone" in text
    assert "0 failures" in text
    assert "everything again after 2.5 s" in text
