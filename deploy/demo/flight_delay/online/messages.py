"""Events of a replay as messages of the services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from deploy.demo.flight_delay.replay import Departure, Updates
from predictmesh.features.v1.features_service_pb2 import FeatureBatch
from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest
from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor

ENDPOINT = "flight-delay"
MAX_ROWS = 1_000
FP32 = DataType.DATA_TYPE_FP32


def feature_batches(updates: Updates) -> Iterator[FeatureBatch]:
    """Yield the rows in order, at most `MAX_ROWS` together."""
    for start in range(0, len(updates), MAX_ROWS):
        yield _batch(updates.rows(start, start + MAX_ROWS))


def _batch(updates: Updates) -> FeatureBatch:
    return FeatureBatch(
        view=updates.view,
        keys=[_keys(name, column) for name, column in updates.keys.items()],
        values=[_values(name, column) for name, column in updates.values.items()],
        event_time_us=updates.event_time.tolist(),
    )


def _keys(name: str, column: NDArray[Any]) -> Tensor:
    is_int = column.dtype.kind == "i"
    return Tensor(name=name, ints=column.tolist()) if is_int else Tensor(name=name, strings=column.tolist())


def _values(name: str, column: NDArray[np.float32]) -> Tensor:
    """Return a field's values; offline, NaN is how a null is written."""
    nulls = np.flatnonzero(np.isnan(column)).tolist()
    return Tensor(name=name, data_type=FP32, floats=column.tolist(), null_rows=nulls)


def predict_request(
    departures: Sequence[Departure], version: str = "", *, endpoint: str = ENDPOINT, prediction_id: str = ""
) -> PredictRequest:
    """Return the question about departures of one as_of, a row each; an empty `version` leaves it to the endpoint's route."""
    seconds, microseconds = divmod(departures[0].as_of, 1_000_000)
    return PredictRequest(
        endpoint=endpoint,
        entities=[
            Tensor(name=name, ints=values) if isinstance(values[0], int) else Tensor(name=name, strings=values)
            for name, values in _columns([departure.entities for departure in departures])
        ],
        features=[
            Tensor(name=name, data_type=FP32, floats=values)
            for name, values in _columns([departure.features for departure in departures])
        ],
        version=version,
        prediction_id=prediction_id,
        as_of=Timestamp(seconds=seconds, nanos=microseconds * 1_000),
    )


def _columns(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    for name in rows[0]:
        yield name, [row[name] for row in rows]
