"""Predictions that are kept, and what came true of them, between the wire and the domain."""

from __future__ import annotations

import time

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.registry.v1 import quality_service_pb2 as quality_pb
from services.gateway.convert import MAX_PREDICTION_ID_BYTES, microseconds_of, origins_of, tensor_of
from services.gateway.outcomes import Outcome
from services.gateway.prediction import Prediction
from services.gateway.records import Record
from services.gateway.target import Source, SourceKind
from services.mesh.errors import InvalidArgument, MeshError
from services.mesh.status import from_status
from services.mesh.timestamps import timestamp_of


def decode_outcome(request: gateway_pb.RecordOutcomeRequest) -> Outcome:
    """Return what came true; what is wrong with the message alone is InvalidArgument."""
    if len(request.prediction_id.encode()) > MAX_PREDICTION_ID_BYTES:
        raise InvalidArgument(f"prediction_id is longer than {MAX_PREDICTION_ID_BYTES} bytes", field="prediction_id")
    time_us = microseconds_of(request.time, "time") if request.HasField("time") else time.time_ns() // 1000
    outcome = Outcome(request.prediction_id, request.row, request.label, time_us)
    outcome.check()
    return outcome


def encode_outcome(outcome: Outcome) -> quality_pb.Outcome:
    """Return what came true as the registry takes it."""
    return quality_pb.Outcome(
        prediction_id=outcome.prediction_id,
        row=outcome.row,
        label=outcome.label,
        time=timestamp_of(outcome.time_us),
    )


def decode_results(response: quality_pb.RecordOutcomesResponse) -> list[bool | MeshError]:
    """Return of each outcome whether it had been recorded before, or why it was not recorded."""
    return [from_status(result.error) if result.HasField("error") else result.existed for result in response.results]


def encode_record(record: Record) -> quality_pb.PredictionRecord:
    """Return what is kept of a prediction as the registry takes it."""
    return quality_pb.PredictionRecord(
        prediction_id=record.prediction_id,
        endpoint=record.endpoint,
        model=record.model,
        version=record.version,
        release_id=record.release_id,
        step=record.step,
        as_of=timestamp_of(record.as_of_us),
        scores=record.scores,
        kind=record.kind.value,  # type: ignore[arg-type]  # the wire's number
        expire_time=timestamp_of(record.expire_us),
        features=None if record.served is None else served_features(record.served),
    )


def served_features(prediction: Prediction) -> quality_pb.ServedFeatures:
    """Return the features of a prediction that was explained, as they were served: each source once."""
    explanation, target = prediction.outcome.explanation, prediction.route.target
    assert explanation is not None
    found: dict[str, quality_pb.ServedSource] = {}
    for index, feed in enumerate(target.inputs):
        for place, source in enumerate(feed.sources):
            name = _name(source)
            # What feeds two inputs has the same values in both.
            if name in found:
                continue
            shape = (prediction.rows,) if source.width == 1 else (prediction.rows, source.width)
            values = explanation.arrays[index][:, source.offset : source.offset + source.width]
            found[name] = quality_pb.ServedSource(
                name=name,
                values=tensor_of("", feed.dtype, shape, values),
                origins=origins_of(prediction, index, place),
            )
    views = len(target.views)
    return quality_pb.ServedFeatures(
        sources=found.values(),
        views=[
            quality_pb.ServedView(name=view, ages_us=prediction.outcome.ages_us[place::views])
            for place, view in enumerate(target.views)
        ],
    )


def _name(source: Source) -> str:
    match source.kind:
        case SourceKind.FIELD:
            return source.name
        case SourceKind.AGE:
            return f"{source.view}.age"
        case SourceKind.REQUEST:
            return f"request:{source.name}"
