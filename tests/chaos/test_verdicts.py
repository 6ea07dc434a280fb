"""A verdict finds what it is there to find: each kind of fault in a history of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.mesh.errors import Overloaded
from services.mesh.status import to_status
from tests.chaos.harness.history import Call, Ending, History
from tests.chaos.harness.shedding import Shedding, shedding
from tests.chaos.harness.verdict import PREDICTIONS, WRITES, Demands, Verdict, judge
from tests.worlds.failures import Failure

ANSWERED = Call("plain", 1, 1.1, Ending.ANSWERED)
FAILED = Call("plain", 5, 5.1, Ending.FAILED, Failure("UNAVAILABLE", "CIRCUIT_OPEN"))
WRONG = replace(ANSWERED, wrong="3 is not 4")
SILENT = replace(FAILED, failure=Failure("UNAVAILABLE", ""))


def judged(*calls: Call, lost: tuple[str, ...] = (), downstream: float = 0, growth_mib: float = 0) -> Verdict:
    """The verdict on calls around a fault from second 4 to second 6, beside one that was answered.

    `downstream` counts the calls of gateways.
    """
    history = History([ANSWERED, *calls], list(lost), struck_at=4, ended_at=6)
    return judge(history, {"GetFeatures": downstream}, {"gateway-1": growth_mib}, machine_taken=False)


@pytest.mark.parametrize(
    ("verdict", "fault"),
    [
        (judged(WRONG), "wrong answers"),
        (judged(lost=("rider 1",)), "acknowledged writes lost"),
        (judged(SILENT), "without a reason"),
        (judged(replace(FAILED, method="laddered")), "in spite of a ladder"),
        (judged(replace(FAILED, started=8.1)), "2.1 s after the fault's end"),
        (
            judged(replace(ANSWERED, started=9, degradations=frozenset({"STORE_UNREACHABLE"}))),
            "3.0 s after the fault's end",
        ),
        (judged(downstream=1.15), "1.15 calls of GetFeatures a prediction"),
        (judged(growth_mib=65), "gateway-1 grew by 65 MiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_finds(verdict: Verdict, fault: str) -> None:
    """Beside which nothing is wrong."""
    (found,) = verdict.faults(Demands())
    assert fault in found


def test_lets_pass() -> None:
    """Failures with a reason while the fault lasts, and shortly after; calls that their callers have left."""
    calls = (FAILED, replace(FAILED, started=7.9), Call("plain", 5, 5.1, Ending.LEFT))
    assert [] == judged(*calls, downstream=4.4).faults(Demands())


def test_nothing_answered() -> None:
    """Nobody may fail because nobody was asked."""
    history = History([FAILED], struck_at=4, ended_at=6)
    assert ["nothing was answered"] == judge(history, {}, {}, machine_taken=False).faults(Demands())


def test_runtimes_come_back() -> None:
    """Answers of the second runtime long after the fault are a fault themselves."""
    second = replace(ANSWERED, started=9, degradations=frozenset({"RUNTIME_FAILED"}))
    (found,) = judged(second).faults(Demands(recovery_s=2.9))
    assert "3.0 s after the fault's end" in found
    assert [] == judged(second).faults(Demands(recovery_s=3.1))


def test_only_what_may_be_chance_is_in_doubt() -> None:
    """What failed while others took the machine, or in a short trial; never a wrong answer or a lost write."""
    late = judged(replace(FAILED, started=8.1))
    assert late.is_in_doubt(Demands(), short=True)
    assert not late.is_in_doubt(Demands(), short=False)
    assert replace(late, machine_taken=True).is_in_doubt(Demands(), short=False)
    for grave in (judged(WRONG), judged(lost=("rider 1",))):
        assert not replace(grave, machine_taken=True).is_in_doubt(Demands(), short=True)
    assert not replace(judged(), machine_taken=True).is_in_doubt(Demands(), short=True)


def test_wrong_answers_before_the_trial_count() -> None:
    """What is forgotten of the time before the fleet was sound are failures, no wrong answers."""
    history = History([WRONG, FAILED, ANSWERED], struck_at=4, ended_at=6)
    history.begin()
    assert [WRONG] == history.calls
    assert judge(history, {}, {}, machine_taken=False).is_grave


def test_what_a_trial_demands() -> None:
    """That no prediction fails, or none once the fault has lasted for a while."""
    verdict = judged(FAILED)
    (found,) = verdict.faults(Demands(failures=0))
    assert "1 predictions failed" in found
    (found,) = verdict.faults(Demands(coping_s=0.5))
    assert "1.0 s after the fault's beginning" in found
    assert [] == verdict.faults(Demands(failures=1, coping_s=1))
    assert [] == judged(replace(FAILED, method="write")).faults(Demands(failures=0, coping_s=0.5))


def test_who_cannot_answer_need_not_say_why() -> None:
    """A server that is gone has no reason to give, another one has."""
    written = replace(SILENT, method="write")
    assert [] == judged(SILENT).faults(Demands(nobody_answers=PREDICTIONS))
    assert [] == judged(written).faults(Demands(nobody_answers=WRITES))
    assert [] != judged(SILENT).faults(Demands(nobody_answers=WRITES))
    assert [] != judged(replace(SILENT, failure=Failure("INTERNAL", ""))).faults(Demands(nobody_answers=PREDICTIONS))


def test_ladders_may_be_refused_for_overload() -> None:
    """What is refused at the door has not come to its ladder."""
    refused = replace(FAILED, method="laddered", failure=Failure("RESOURCE_EXHAUSTED", "OVERLOADED"))
    assert [] == judged(refused).faults(Demands())


def test_counts_who_was_refused() -> None:
    """Of each kind of caller the part that was refused, and how many of them were not told when to come back."""
    status = to_status(Overloaded("come back later", retry_after_s=0.5)).SerializeToString()
    refusal = Failure("RESOURCE_EXHAUSTED", "OVERLOADED")
    untold = replace(FAILED, failure=refusal)
    told = replace(FAILED, failure=replace(refusal, trailers={"grpc-status-details-bin": status}))
    shed = shedding([ANSWERED, FAILED, untold, told, replace(told, urgent=True)])
    assert Shedding(refused=3, untold=1, urgent_part=1, other_part=0.5) == shed


def test_some_are_late() -> None:
    """Two calls of a hundred may hear of their deadline from their own clock; but where none may fail, not these either."""
    late = replace(SILENT, method="laddered", failure=Failure("DEADLINE_EXCEEDED", ""))
    history = History([ANSWERED] * 98 + [late, late], struck_at=4, ended_at=6)
    verdict = judge(history, {}, {}, machine_taken=False)
    assert [] == verdict.faults(Demands())
    assert 1 == len(verdict.faults(Demands(failures=0)))
    history.calls.append(late)
    assert 1 == len(judge(history, {}, {}, machine_taken=False).faults(Demands()))


def test_a_busy_machine_makes_some_fail() -> None:
    """Where others took the machine, as many failures say nothing of the fault."""
    history = History([ANSWERED] * 98 + [FAILED, replace(FAILED, method="laddered")], struck_at=4, ended_at=6)
    taken = judge(history, {}, {}, machine_taken=True)
    assert [] == taken.faults(Demands(failures=0))
    assert 2 == len(replace(taken, machine_taken=False).faults(Demands(failures=0)))
    history.calls.append(FAILED)
    assert 1 == len(judge(history, {}, {}, machine_taken=True).faults(Demands(failures=0)))
