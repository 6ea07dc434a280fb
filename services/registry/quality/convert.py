"""Between messages and what the registry knows of predictions. By hand, as many of them come each second."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.registry.v1 import quality_service_pb2 as pb
from predictmesh.registry.v1.endpoint_pb2 import OutcomeKind as PbKind
from services.mesh.errors import MissingField
from services.mesh.status import to_status
from services.mesh.timestamps import timestamp_of
from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality.records import (
    ExportedPrediction,
    Outcome,
    OutcomeResult,
    PredictionRecord,
    Series,
)
from services.registry.quality.report import VersionQuality

_KINDS = {
    PbKind.OUTCOME_KIND_BINARY: OutcomeKind.BINARY,
    PbKind.OUTCOME_KIND_REGRESSION: OutcomeKind.REGRESSION,
}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_HOUR_S = 3_600
# The end of the year 9999, as Timestamp has it.
_LAST_S = 253_402_300_799
# Before and after any time of the calendar.
_EVER_US = 2**62


def decode_records(request: pb.RecordPredictionsRequest) -> list[PredictionRecord]:
    """The predictions to keep."""
    return [_record(message, f"predictions[{index}]") for index, message in enumerate(request.predictions)]


def decode_outcomes(request: pb.RecordOutcomesRequest) -> list[Outcome]:
    """What came true; nothing is checked, as a bad one must not fail its neighbours."""
    return [
        Outcome(each.prediction_id, each.row, each.label, _us(each.time) if each.HasField("time") else None)
        for each in request.outcomes
    ]


def decode_span(request: pb.ExportPredictionsRequest) -> tuple[int, int]:
    """From when and until when, in microseconds since the epoch."""
    start_us = _us(request.start_time) if request.HasField("start_time") else -_EVER_US
    end_us = _us(request.end_time) if request.HasField("end_time") else _EVER_US
    return max(start_us, -_EVER_US), min(end_us, _EVER_US)


def encode_results(results: Sequence[OutcomeResult]) -> pb.RecordOutcomesResponse:
    """What became of each outcome."""
    return pb.RecordOutcomesResponse(
        results=[
            pb.OutcomeResult(existed=each.existed, error=to_status(each.error) if each.error else None)
            for each in results
        ]
    )


def encode_quality(versions: Sequence[VersionQuality]) -> pb.GetQualityResponse:
    """How good versions were."""
    return pb.GetQualityResponse(versions=[_quality(each) for each in versions])


def encode_export(predictions: Sequence[ExportedPrediction]) -> pb.ExportPredictionsResponse:
    """Predictions with their outcomes."""
    return pb.ExportPredictionsResponse(
        predictions=[
            pb.ExportedPrediction(prediction=_prediction(each.prediction), outcomes=map(_outcome, each.outcomes))
            for each in predictions
        ]
    )


def _record(message: pb.PredictionRecord, path: str) -> PredictionRecord:
    for name in ("as_of", "expire_time"):
        if not message.HasField(name):
            raise MissingField("a prediction has both times", field=f"{path}.{name}")
    series = Series(
        message.endpoint,
        message.model,
        message.version,
        message.release_id,
        message.step,
        _KINDS.get(message.kind, OutcomeKind.UNSPECIFIED),
    )
    return PredictionRecord(
        prediction_id=message.prediction_id,
        series=series,
        as_of_us=_us(message.as_of),
        scores=tuple(message.scores),
        expire_us=_us(message.expire_time),
        features=message.features.SerializeToString() if message.HasField("features") else None,
    )


def _prediction(record: PredictionRecord) -> pb.PredictionRecord:
    series = record.series
    return pb.PredictionRecord(
        prediction_id=record.prediction_id,
        endpoint=series.endpoint,
        model=series.model,
        version=series.version,
        release_id=series.release_id,
        step=series.step,
        as_of=timestamp_of(record.as_of_us),
        scores=record.scores,
        kind=_NUMBERS[series.kind],
        expire_time=timestamp_of(record.expire_us),
        features=None if record.features is None else pb.ServedFeatures.FromString(record.features),
    )


def _outcome(outcome: Outcome) -> pb.Outcome:
    time = None if outcome.time_us is None else timestamp_of(outcome.time_us)
    return pb.Outcome(prediction_id=outcome.prediction_id, row=outcome.row, label=outcome.label, time=time)


def _quality(quality: VersionQuality) -> pb.VersionQuality:
    return pb.VersionQuality(
        model=quality.model,
        version=quality.version,
        start_time=Timestamp(seconds=quality.first_hour * _HOUR_S),
        end_time=Timestamp(seconds=min((quality.last_hour + 1) * _HOUR_S, _LAST_S)),
        kind=_NUMBERS[quality.kind],
        outcomes=quality.outcomes,
        predictions=quality.predictions,
        auc=quality.auc,
        log_loss=quality.log_loss,
        brier=quality.brier,
        calibration_error=quality.calibration_error,
        calibration=[
            pb.CalibrationBin(upper=each.upper, rows=each.rows, mean_score=each.mean_score, rate=each.rate)
            for each in quality.calibration
        ],
        mae=quality.mae,
        rmse=quality.rmse,
        bias=quality.bias,
    )


def _us(stamp: Timestamp) -> int:
    return stamp.seconds * 1_000_000 + stamp.nanos // 1_000
