"""The gateway's requests and answers between the wire and the domain."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.features.v1.features_service_pb2 import ElementOrigin
from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.registry.v1 import model_pb2
from predictmesh.types.v1 import data_type_pb2
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.gateway.convert_provenance import complete, frame_of
from services.gateway.prediction import NOT_STORED, Explanation, FeatureState, Prediction
from services.gateway.request import Column, PredictCall
from services.gateway.target import DType, Input, Source, SourceKind, Target
from services.mesh.deadline import Deadline
from services.mesh.errors import InvalidArgument
from services.mesh.status import to_status

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

VERSION_HEADER = "x-model-version"
MAX_PREDICTION_ID_BYTES = 64
# Where google.protobuf.Timestamp ends: 9999-12-31T23:59:59Z.
MAX_SECONDS = 253_402_300_799
VALUE_FIELDS = frozenset({"strings", "floats", "ints", "doubles", "bools", "uints", "blobs"})
DATA_TYPES: dict[DType, int] = {dtype: data_type_pb2.DataType.Value(f"DATA_TYPE_{dtype.name}") for dtype in DType}
_DTYPES = {number: dtype for dtype, number in DATA_TYPES.items()}


def decode_predict(
    request: gateway_pb.PredictRequest,
    metadata: Mapping[str, str | bytes],
    deadline: Deadline | None,
    *,
    explain: bool = False,
) -> PredictCall:
    """Return the call that a request asks for; what is wrong with the message alone is InvalidArgument."""
    if request.prediction_id and len(request.prediction_id.encode()) > MAX_PREDICTION_ID_BYTES:
        raise InvalidArgument(f"prediction_id is longer than {MAX_PREDICTION_ID_BYTES} bytes", field="prediction_id")
    as_of_us = microseconds_of(request.as_of, "as_of") if request.HasField("as_of") else time.time_ns() // 1000
    return PredictCall(
        endpoint=request.endpoint,
        pin=request.version or str(metadata.get(VERSION_HEADER, "")),
        entities=[_column(tensor, "entities", index) for index, tensor in enumerate(request.entities)],
        features=[_column(tensor, "features", index) for index, tensor in enumerate(request.features)],
        as_of_us=as_of_us,
        prediction_id=request.prediction_id,
        deadline=deadline,
        explain=explain,
    )


def microseconds_of(time_of: Timestamp, field: str) -> int:
    """Return a time in microseconds since the epoch; raises InvalidArgument with the field's path."""
    if not 0 <= time_of.nanos < 10**9:
        raise InvalidArgument(f"{field}.nanos is out of range", field=f"{field}.nanos")
    microseconds = time_of.seconds * 1_000_000 + time_of.nanos // 1000
    # Checked here, since the feature service would refuse the whole batch for it.
    if not (0 <= time_of.seconds <= MAX_SECONDS and microseconds):
        raise InvalidArgument(f"{field} is not a time after 1970 and before 10000", field=field)
    return microseconds


def _column(tensor: Tensor, path: str, index: int) -> Column:
    fields = tensor.ListFields()
    # The common case: a name and values.
    if len(fields) == 2 and (kind := fields[1][0].name) in VALUE_FIELDS:
        return Column(tensor.name, kind, fields[1][1][:])
    return _full_column(tensor, path, index)


def _full_column(tensor: Tensor, path: str, index: int) -> Column:
    column = Column(tensor.name, "", [])
    for descriptor, value in tensor.ListFields():
        field = descriptor.name
        if field in VALUE_FIELDS:
            if column.kind:
                message = f"{tensor.name!r} has values in {column.kind} and in {field}; one of them must be empty"
                raise InvalidArgument(message, field=f"{path}[{index}].{field}")
            column.kind, column.values = field, value[:]
        elif field == "null_rows":
            column.null_rows = value
        elif field == "shape":
            column.shape = value
        elif field == "data_type":
            column.dtype = _DTYPES.get(value)
            if column.dtype is None:
                raise InvalidArgument(f"there is no data type {value}", field=f"{path}[{index}].data_type")
    return column


def encode_prediction(prediction: Prediction) -> gateway_pb.PredictResponse:
    """Return the answer with its provenance."""
    outcome, target = prediction.outcome, prediction.route.target
    response = gateway_pb.PredictResponse.FromString(_frame(target))
    response.prediction_id = prediction.prediction_id
    for tensor, spec, values in zip(response.outputs, target.outputs, outcome.outputs, strict=True):
        tensor.shape[0] = prediction.rows
        _put_values(tensor, spec.dtype, values)
    complete(response.provenance, prediction)
    for row, error in sorted(outcome.row_errors.items()):
        response.row_errors.add(row=row, status=to_status(error))
    return response


# By target, what all answers of a version have in common: parsing it takes half the time of putting it together.
_FRAMES: WeakKeyDictionary[Target, bytes] = WeakKeyDictionary()


def _frame(target: Target) -> bytes:
    frame = _FRAMES.get(target)
    if frame is None:
        outputs = [_empty_tensor(spec.name, spec.dtype, (0, *spec.shape)) for spec in target.outputs]
        response = gateway_pb.PredictResponse(outputs=outputs, provenance=frame_of(target))
        frame = _FRAMES[target] = response.SerializeToString()
    return frame


def tensor_of(name: str, dtype: DType, shape: tuple[int, ...], values: npt.NDArray[np.generic]) -> Tensor:
    """Return an array as a public tensor of typed values."""
    tensor = _empty_tensor(name, dtype, shape)
    _put_values(tensor, dtype, values)
    return tensor


def _empty_tensor(name: str, dtype: DType, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name=name, data_type=DATA_TYPES[dtype], shape=shape)  # type: ignore[arg-type]  # the wire's number


def _put_values(tensor: Tensor, dtype: DType, values: npt.NDArray[np.generic]) -> None:
    flat = values.ravel().tolist()
    match dtype:
        case DType.FP32 | DType.FP16:
            tensor.floats.extend(flat)
        case DType.FP64:
            tensor.doubles.extend(flat)
        case DType.BOOL:
            tensor.bools.extend(flat)
        case DType.UINT64:
            tensor.uints.extend(flat)
        case DType.BYTES:
            _put_bytes(tensor, flat)
        case _:
            tensor.ints.extend(flat)


def _put_bytes(tensor: Tensor, values: list[bytes]) -> None:
    try:
        tensor.strings.extend([value.decode() for value in values])
    except UnicodeDecodeError:
        tensor.blobs.extend(values)


def encode_explanation(prediction: Prediction) -> gateway_pb.ExplainResponse:
    """Return every input element of a prediction made with `explain`."""
    response = gateway_pb.ExplainResponse(prediction=encode_prediction(prediction))
    sources = [
        (index, feed, source, origins_of(prediction, index, place))
        for index, feed in enumerate(prediction.route.target.inputs)
        for place, source in enumerate(feed.sources)
    ]
    for row in range(prediction.rows):
        for index, feed, source, origins in sources:
            response.inputs.append(_input_value(prediction, row, index, feed, source, origins[row]))
    return response


def _input_value(
    prediction: Prediction, row: int, index: int, feed: Input, source: Source, origin: int
) -> gateway_pb.InputValue:
    explanation, target = prediction.outcome.explanation, prediction.route.target
    assert explanation is not None
    values = explanation.arrays[index][row, source.offset : source.offset + source.width]
    found = gateway_pb.InputValue(
        row=row,
        input=feed.name,
        source=_source(source),
        value=tensor_of(source.name, feed.dtype, (source.width,), values),
        origin=origin,  # type: ignore[arg-type]  # the wire's number
    )
    if source.view and origin != gateway_pb.VALUE_ORIGIN_REQUEST:
        age = prediction.outcome.ages_us[row * len(target.views) + target.views.index(source.view)]
        if age != NOT_STORED:
            found.age_ms = age // 1000
    return found


# ValueOrigin by what the feature service says of an element.
_ORIGINS = bytearray([gateway_pb.VALUE_ORIGIN_NULL] * 256)
_ORIGINS[ElementOrigin.ELEMENT_ORIGIN_STORE] = gateway_pb.VALUE_ORIGIN_STORE
_ORIGINS[ElementOrigin.ELEMENT_ORIGIN_DEFAULT] = gateway_pb.VALUE_ORIGIN_DEFAULT_ABSENT
_ORIGINS[ElementOrigin.ELEMENT_ORIGIN_MEMORY] = gateway_pb.VALUE_ORIGIN_MEMORY


def origins_of(prediction: Prediction, index: int, place: int) -> bytes:
    """Return where the values of a source came from, a ValueOrigin a row: the one at `place` of the input at `index`.

    The prediction was made with `explain`.
    """
    explanation, target = prediction.outcome.explanation, prediction.route.target
    assert explanation is not None
    feed = target.inputs[index]
    source = feed.sources[place]
    if feed.plan_index is None:
        origins = bytearray([gateway_pb.VALUE_ORIGIN_NULL] * prediction.rows)
    else:
        origins = bytearray(explanation.origins[feed.plan_index][place :: len(feed.sources)].translate(_ORIGINS))
    _tell_defaults(origins, explanation, source.view, target)
    for at, offset, row in explanation.from_request:
        if (at, offset) == (index, source.offset):
            origins[row] = gateway_pb.VALUE_ORIGIN_REQUEST
    return bytes(origins)


def _tell_defaults(origins: bytearray, explanation: Explanation, name: str, target: Target) -> None:
    """Say of the defaults among the values of the view `name` why they were taken, unless it is that nothing is stored."""
    reasons = {
        (row, view): gateway_pb.VALUE_ORIGIN_DEFAULT_UNREACHABLE
        for view, rows in explanation.unreached.items()
        for row in rows
    }
    for row, view, state in explanation.statuses:
        if state is FeatureState.STALE_DEFAULTED:
            reasons[row, view] = gateway_pb.VALUE_ORIGIN_DEFAULT_STALE
    for (row, view), reason in reasons.items():
        if target.views[view] == name and origins[row] == gateway_pb.VALUE_ORIGIN_DEFAULT_ABSENT:
            origins[row] = reason


def _source(source: Source) -> model_pb2.Source:
    match source.kind:
        case SourceKind.FIELD:
            return model_pb2.Source(
                field=model_pb2.FieldSource(view=source.view, field=source.name.removeprefix(f"{source.view}:"))
            )
        case SourceKind.AGE:
            return model_pb2.Source(age_of_view=source.view)
        case SourceKind.REQUEST:
            return model_pb2.Source(request=source.name)
