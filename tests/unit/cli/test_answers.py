"""A prediction as people read it."""

from __future__ import annotations

import pytest

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import Degradation, DegradationReason, Provenance
from services.cli.answers import print_answer
from services.cli.labels import DEGRADATIONS


def test_every_degradation_has_words() -> None:
    """Nobody has to look up a number."""
    assert set(DegradationReason.values()) - {0} == set(DEGRADATIONS)


def test_fallback_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """What computed, which runtime did not, why, and for which rows."""
    made = Provenance(model="churn", version="1.0.0", runtime="onnx")
    made.degradations.append(
        Degradation(reason=DegradationReason.DEGRADATION_REASON_RUNTIME_FAILED, subject="triton", rows=[1, 3])
    )
    print_answer(PredictRequest(), PredictResponse(provenance=made))
    printed = capsys.readouterr().out
    assert "on onnx" in printed
    assert "runtime failed, the next one computed: triton (rows 1, 3)" in printed
