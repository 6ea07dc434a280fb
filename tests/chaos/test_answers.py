"""Every answer gives away whose value it is, which write it is of, and how old it has to say that it is."""

from __future__ import annotations

import pytest

from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import (
    DEGRADATION_REASON_FALLBACK,
    DEGRADATION_REASON_STORE_UNREACHABLE,
    Degradation,
    Provenance,
    ViewAge,
)
from tests.chaos.harness.answers import Question, fault_in
from tests.chaos.harness.ledger import DEFAULT, STATIC, Ledger
from tests.worlds.resources import tensor

RIDERS = (3, 4)
ASKED = Question(RIDERS, (5, 0))
STORE, LADDER = DEGRADATION_REASON_STORE_UNREACHABLE, DEGRADATION_REASON_FALLBACK


@pytest.fixture
def ledger() -> Ledger:
    """Rider 3 has been written to nine times, and the first six were acknowledged; rider 4 never since the first time."""
    made = Ledger(first_event_us=0)
    made.sent[3], made.acknowledged[3] = 9, 6
    return made


def answer(*values: float, age_ms: int | None = 1000, reason: int = 0, rows: tuple[int, ...] = ()) -> PredictResponse:
    """An answer of second one, when the event of write 0 was."""
    provenance = Provenance(views=[ViewAge(view="rider", oldest_age_ms=age_ms)])
    provenance.as_of.FromMilliseconds(1000)
    if reason:
        provenance.degradations.append(Degradation(reason=reason, rows=rows))  # type: ignore[arg-type]  # an enum's number
    return PredictResponse(outputs=[tensor("y", values, "floats")], provenance=provenance)


CASES = {
    "a write under way": (answer(300_007, 400_000), ""),
    "the last one sent": (answer(300_009, 400_000), ""),
    "a later one": (answer(300_010, 400_000), "never written"),
    "between two": (answer(300_006.5, 400_000), "never written"),
    "each other's": (answer(400_000, 300_006), "never written"),
    "before the acknowledged one": (answer(300_004, 400_000), "had been acknowledged"),
    "a row too few": (answer(300_006), "1 values for 2 riders"),
    "too young": (answer(300_006, 400_000, age_ms=990), "said to be 990 ms old, but is 1000.0 ms old"),
    "a silent default": (answer(DEFAULT, 400_000), "never written"),
    "a default that is told": (answer(DEFAULT, 400_000, reason=STORE, rows=(0,)), ""),
    "a default that is told of another row": (answer(DEFAULT, DEFAULT, reason=STORE, rows=(0,)), "never written"),
    "defaults only": (answer(DEFAULT, DEFAULT, reason=STORE, age_ms=None), ""),
    "an old one that is told": (answer(300_004, 400_000, reason=STORE), ""),
    "an old one that is told to be young": (answer(300_004, 400_000, reason=STORE, age_ms=10), "said to be 10 ms old"),
    "a silent fallback": (answer(STATIC, 400_000), "never written"),
    "fallbacks only": (answer(STATIC, STATIC, reason=LADDER, age_ms=None), ""),
    "a last answer": (answer(300_004, STATIC, reason=LADDER), ""),
    "a fallback by another name": (answer(STATIC, 400_000, reason=STORE), "never written"),
}


@pytest.mark.parametrize(("given", "fault"), CASES.values(), ids=CASES.keys())
def test_faults(ledger: Ledger, given: PredictResponse, fault: str) -> None:
    """Values of others, of never, of too long ago, and ages that are not theirs, unless the answer owns up to it."""
    found = fault_in(ASKED, given, ledger)
    assert fault in found if fault else found == ""


def test_row_errors(ledger: Ledger) -> None:
    """No row of these requests has a reason to fail alone."""
    given = answer(300_006, 400_000)
    given.row_errors.add(row=1)
    assert "row errors" in fault_in(ASKED, given, ledger)
