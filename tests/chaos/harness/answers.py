"""Whether an answer can be right: whose value it is, how new it had to be, and whether it is as old as it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from predictmesh.gateway.v1 import prediction_service_pb2 as pb
from predictmesh.gateway.v1.provenance_pb2 import (
    DEGRADATION_REASON_FALLBACK,
    DEGRADATION_REASON_STORE_UNREACHABLE,
    DegradationReason,
)
from tests.chaos.harness.ledger import DEFAULT, STATIC, Ledger


@dataclass(frozen=True)
class Question:
    """Riders that were asked for, and the write of each that was acknowledged before."""

    riders: Sequence[int]
    acknowledged: Sequence[int]


def degradations_of(answer: pb.PredictResponse) -> frozenset[str]:
    """What an answer says of itself, by short names."""
    names = (DegradationReason.Name(each.reason) for each in answer.provenance.degradations)
    return frozenset(name.removeprefix("DEGRADATION_REASON_") for name in names)


def fault_in(question: Question, answer: pb.PredictResponse, ledger: Ledger) -> str:
    """Return why the answer cannot be right, or nothing."""
    if answer.row_errors:
        return f"row errors without a reason to have them: {answer.row_errors}"
    values = answer.outputs[0].floats
    if len(values) != len(question.riders):
        return f"{len(values)} values for {len(question.riders)} riders"
    writes: list[int] = []
    for row, value in enumerate(values):
        if fault := _fault_in_row(question, row, value, answer, ledger, writes):
            return fault
    return _fault_in_age(writes, answer, ledger)


def _fault_in_row(
    question: Question, row: int, value: float, answer: pb.PredictResponse, ledger: Ledger, writes: list[int]
) -> str:
    rider = question.riders[row]
    if value == STATIC and _says(answer, DEGRADATION_REASON_FALLBACK, row):
        return ""
    if value == DEFAULT and _says(answer, DEGRADATION_REASON_STORE_UNREACHABLE, row):
        return ""
    write = ledger.write_of(rider, value)
    if write is None:
        return f"rider {rider}: {value} was never written to it"
    fallen = _says(answer, DEGRADATION_REASON_FALLBACK, row)
    if write < question.acknowledged[row] and not (fallen or _says(answer, DEGRADATION_REASON_STORE_UNREACHABLE, row)):
        return f"rider {rider}: write {write}, though {question.acknowledged[row]} had been acknowledged"
    if not fallen:
        writes.append(write)
    return ""


def _fault_in_age(writes: Sequence[int], answer: pb.PredictResponse, ledger: Ledger) -> str:
    """Compare the age that is said with that of the oldest of `writes`; rows that a fallback answered have none here."""
    if not writes or any(each.reason == DEGRADATION_REASON_FALLBACK for each in answer.provenance.degradations):
        return ""
    as_of_us = answer.provenance.as_of.ToMicroseconds()
    expected_ms = (as_of_us - ledger.event_us(min(writes))) / 1000
    (view,) = answer.provenance.views
    if abs(view.oldest_age_ms - expected_ms) > 1:
        return f"said to be {view.oldest_age_ms} ms old, but is {expected_ms:.1f} ms old"
    return ""


def _says(answer: pb.PredictResponse, reason: DegradationReason.ValueType, row: int) -> bool:
    return any(each.reason == reason and (not each.rows or row in each.rows) for each in answer.provenance.degradations)
