"""A prediction as people read it."""

from __future__ import annotations

import pytest

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import Degradation, DegradationReason, HopTime, Provenance, RouteReason
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


@pytest.mark.parametrize(
    ("reason", "release", "told"),
    [
        ("PINNED_RANGE", 0, "churn 1.0.0 (pinned range) on onnx"),
        ("ENDPOINT_WEIGHT", 0, "churn 1.0.0 (endpoint weight) on onnx"),
        ("CANARY", 7, "churn 1.0.0 (canary of release 7) on onnx"),
    ],
)
def test_route_is_told(reason: str, release: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Why this version, and by which release."""
    made = Provenance(model="churn", version="1.0.0", runtime="onnx", release_id=release)
    made.route_reason = RouteReason.Value(f"ROUTE_REASON_{reason}")
    print_answer(PredictRequest(), PredictResponse(provenance=made))
    assert told in capsys.readouterr().out


def test_effort_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Which hop needed more than one call, and that replicas were not asked; nothing of a hop that needed one."""
    hops = [
        HopTime(name="features", duration_us=900),
        HopTime(name="model", duration_us=2000, retries=1, hedged=True, breakers_open=2),
    ]
    print_answer(PredictRequest(), PredictResponse(provenance=Provenance(model="churn", version="1.0.0", hops=hops)))
    printed = capsys.readouterr().out
    assert "(made again 1x, asked of a second replica too, replicas left out: 2)" in printed
    assert 1 == printed.count("made again")
