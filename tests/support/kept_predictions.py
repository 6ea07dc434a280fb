"""Predictions and outcomes as messages, as gateways send them."""

from __future__ import annotations

import time
from typing import Any

from predictmesh.registry.v1 import quality_service_pb2 as pb
from predictmesh.registry.v1.endpoint_pb2 import OutcomeKind

NOON_S = 1_376_913_600


def kept(prediction_id: str, *scores: float, **parts: Any) -> pb.PredictionRecord:
    """A prediction of churn 1.0.0 as of noon, whose outcome may come for an hour."""
    standard: dict[str, Any] = {
        "endpoint": "churn",
        "model": "churn",
        "version": "1.0.0",
        "kind": OutcomeKind.OUTCOME_KIND_BINARY,
        "as_of": {"seconds": NOON_S},
        "expire_time": {"seconds": int(time.time()) + 3_600},
    }
    return pb.PredictionRecord(prediction_id=prediction_id, scores=scores or (0.5,), **standard | parts)


def came_true(prediction_id: str, label: float = 1.0, row: int = 0, **parts: Any) -> pb.Outcome:
    """What came true of a row."""
    return pb.Outcome(prediction_id=prediction_id, label=label, row=row, **parts)


def keeping(*predictions: pb.PredictionRecord) -> pb.RecordPredictionsRequest:
    """The call that keeps predictions."""
    return pb.RecordPredictionsRequest(predictions=predictions)


def recording(*outcomes: pb.Outcome) -> pb.RecordOutcomesRequest:
    """The call that records outcomes."""
    return pb.RecordOutcomesRequest(outcomes=outcomes)
