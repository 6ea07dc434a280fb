"""Exported predictions as Arrow columns: a row for each row of a prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from predictmesh.gateway.v1.prediction_service_pb2 import ValueOrigin
from predictmesh.registry.v1.quality_service_pb2 import ExportedPrediction
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli.errors import Mistake
from services.cli.feature_file import ARROW_TYPES
from services.cli.labels import words
from services.cli.values import VALUE_FIELDS

_TIME = pa.timestamp("us", "UTC")
_ABSENT_US = -(2**63)
# The names of the columns that every export has.
FIXED = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("row", pa.int32()),
        ("as_of", _TIME),
        ("model", pa.string()),
        ("version", pa.string()),
        ("score", pa.float64()),
        ("label", pa.float64()),
        ("label_time", _TIME),
    ]
)
_ORIGINS = {
    int(number): words(ValueOrigin.Name, "VALUE_ORIGIN_", number).replace(" ", "_") for number in ValueOrigin.values()
}


def schema_of(prediction: ExportedPrediction) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the columns of a prediction."""
    features = prediction.prediction.features
    fields = [
        pair
        for source in features.sources
        for pair in ((source.name, _type(source.values)), (f"{source.name}#origin", pa.string()))
    ]
    return pa.schema([*FIXED, *fields, *((f"{view.name}#age_s", pa.float64()) for view in features.views)])


def joined(one: Any, other: Any) -> Any:  # noqa: ANN401
    """Return the columns of both. Mistake if one of them is of two types that have none in common."""
    try:
        return pa.unify_schemas([one, other], promote_options="permissive")
    except pa.ArrowException as error:
        raise Mistake(f"versions differ in the type of a source, which no column holds: {error}") from error


def table_of(predictions: Sequence[ExportedPrediction], schema: Any) -> Any:  # noqa: ANN401
    """Return the rows of predictions as a table; what a prediction does not have is null."""
    columns: dict[str, list[object]] = {name: [] for name in schema.names}
    for prediction in predictions:
        rows = len(prediction.prediction.scores)
        found = dict(_columns(prediction, rows))
        for name, values in columns.items():
            values.extend(found.get(name) or [None] * rows)
    return pa.table({name: pa.array(values, schema.field(name).type) for name, values in columns.items()}, schema)


def _columns(prediction: ExportedPrediction, rows: int) -> Iterator[tuple[str, Sequence[object]]]:
    """Yield the name and values of each column that the prediction has."""
    record = prediction.prediction
    yield "prediction_id", [record.prediction_id] * rows
    yield "row", range(rows)
    yield "as_of", [record.as_of.ToMicroseconds()] * rows
    yield "model", [record.model] * rows
    yield "version", [record.version] * rows
    yield "score", [None if math.isnan(score) else score for score in record.scores]
    outcomes = {outcome.row: outcome for outcome in prediction.outcomes}
    yield "label", [outcomes[row].label if row in outcomes else None for row in range(rows)]
    yield "label_time", [outcomes[row].time.ToMicroseconds() if row in outcomes else None for row in range(rows)]
    for source in record.features.sources:
        yield source.name, _values(source.values, rows)
        yield f"{source.name}#origin", [_ORIGINS.get(number, str(number)) for number in source.origins]
    for view in record.features.views:
        yield f"{view.name}#age_s", [None if age == _ABSENT_US else age / 1e6 for age in view.ages_us]


def _type(tensor: Tensor) -> Any:  # noqa: ANN401
    kind = pa.binary() if tensor.blobs else ARROW_TYPES[tensor.data_type]
    return pa.list_(kind) if len(tensor.shape) > 1 else kind


def _values(tensor: Tensor, rows: int) -> Sequence[object]:
    """Return the value of each row, a list where it has several; None where it is null."""
    flat: Sequence[object] = next((values for name in VALUE_FIELDS if (values := getattr(tensor, name))), [])
    if len(tensor.shape) > 1:
        width = len(flat) // rows
        flat = [list(flat[row * width : (row + 1) * width]) for row in range(rows)]
    nulls = set(tensor.null_rows)
    return [None if row in nulls else value for row, value in enumerate(flat)]
