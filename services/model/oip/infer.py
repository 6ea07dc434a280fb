"""ModelInfer: its request checked against the signature, and its response."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
from tritonclient.grpc import service_pb2 as oip

from services.mesh.errors import FieldViolation, InvalidArgument, MissingField
from services.model.calls import Answer, InferCall, Source
from services.model.datatypes import DTYPES, Array, pack, unpack
from services.model.errors import LengthMismatch, RowsOutOfRange, ShapeMismatch, TypeMismatch, UnknownTensor
from services.model.oip.datatypes import CONTENTS
from services.model.versions import Signature, TensorSpec, Version

# Parameters of our gateway, beyond the protocol: time left by row in the request, the runtime in the response.
ROW_TIMES = "pm_rows"
RUNTIME = "pm_runtime"
# An output of our own, only to a request with row times, and only when a row is not OK: a status code for each row.
ROW_STATUS = "pm_row_status"
# One more, when several runtimes computed: for each row the index of the runtime among those that RUNTIME lists.
ROW_SOURCE = "pm_row_source"

# They ask for another answer than the one that would come, so they cannot be ignored like other servers' hints.
_UNSUPPORTED = ("shared_memory_region", "classification")


def decode_infer(request: oip.ModelInferRequest, signature: Signature, most_rows: int, deadline: float) -> InferCall:
    """Read the rows; raises an INVALID_ARGUMENT with the path of the first field that does not fit.

    `deadline` is the call's, in monotonic seconds, where the request brings no times of its own for its rows.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise LengthMismatch(f"{len(raw)} raw contents for {len(request.inputs)} inputs", field="raw_input_contents")
    inputs: dict[str, Array] = {}
    rows = 0
    for index, tensor in enumerate(request.inputs):
        spec = signature.input_named.get(tensor.name)
        if spec is None or tensor.name in inputs:
            raise _surplus(tensor.name, index, signature)
        shape = tuple(tensor.shape)
        rows = rows or _rows(shape, index, most_rows)
        _check(tensor, spec, shape, rows, f"inputs[{index}]")
        if raw and tensor.HasField("contents") and tensor.contents.ByteSize():
            # The protocol forbids both: which of them is meant, nobody can know.
            raise InvalidArgument(
                f"input {spec.name!r} has contents beside raw_input_contents", field=f"inputs[{index}].contents"
            )
        inputs[spec.name] = _raw(raw[index], spec, shape, index) if raw else _typed(tensor, spec, shape, index)
    if len(inputs) < len(signature.inputs):
        raise _missing(inputs, signature)
    # Asked for by name: to read a parameter that is not there would add it.
    if ROW_TIMES not in request.parameters:
        return InferCall(inputs, rows, deadline)
    deadlines = _deadlines(request.parameters[ROW_TIMES].string_param, rows)
    several = len(deadlines) > 1 and deadlines.count(deadlines[0]) < len(deadlines)
    return InferCall(inputs, rows, min(deadlines), by_row=True, deadlines=deadlines if several else None)


def requested_outputs(request: oip.ModelInferRequest, signature: Signature) -> Sequence[TensorSpec]:
    """Return the outputs to answer, in the caller's order; all of them when it names none."""
    if not request.outputs:
        return signature.outputs
    specs = []
    for index, output in enumerate(request.outputs):
        spec = signature.output_named.get(output.name)
        if spec is None:
            known = ", ".join(signature.output_named)
            raise UnknownTensor(f"no output {output.name!r}, there are: {known}", field=f"outputs[{index}].name")
        _refuse_unsupported(output, f"outputs[{index}]")
        specs.append(spec)
    return specs


def encode_infer(
    request: oip.ModelInferRequest, version: Version, outputs: Sequence[TensorSpec], answer: Answer
) -> oip.ModelInferResponse:
    """Write the answer, packed."""
    response = oip.ModelInferResponse(model_name=version.model, model_version=version.version, id=request.id)
    for spec in outputs:
        _add(response, spec.name, spec.datatype, answer.outputs[spec.name])
    if ROW_TIMES in request.parameters:
        response.parameters[RUNTIME].string_param = ",".join(map(_said, answer.sources))
        if answer.codes is not None:
            _add(response, ROW_STATUS, "INT32", answer.codes)
        if answer.row_sources is not None:
            _add(response, ROW_SOURCE, "UINT8", answer.row_sources)
    return response


def _said(source: Source) -> str:
    return f"{source.runtime};{source.reason};{source.instead_of}" if source.reason else source.runtime


def _add(response: oip.ModelInferResponse, name: str, datatype: str, values: Array) -> None:
    response.outputs.add(name=name, datatype=datatype, shape=values.shape)
    response.raw_output_contents.append(pack(values))


def _rows(shape: tuple[int, ...], index: int, most_rows: int) -> int:
    rows = shape[0] if shape else 0
    if not 1 <= rows <= most_rows:
        raise RowsOutOfRange(f"a call has 1 to {most_rows} rows, not {rows}", field=f"inputs[{index}].shape")
    return rows


def _check(
    tensor: oip.ModelInferRequest.InferInputTensor, spec: TensorSpec, shape: tuple[int, ...], rows: int, path: str
) -> None:
    if tensor.datatype != spec.datatype:
        message = f"input {spec.name!r} is {spec.datatype}, not {tensor.datatype or 'of no type'}"
        raise TypeMismatch(message, field=f"{path}.datatype")
    if shape != (rows, *spec.shape):
        if shape[1:] == spec.shape:
            raise LengthMismatch(f"{shape[0]} rows, an input before has {rows}", field=f"{path}.shape")
        wanted = ["rows", *spec.shape]
        raise ShapeMismatch(f"input {spec.name!r} is {wanted}, not {list(shape)}", field=f"{path}.shape")
    _refuse_unsupported(tensor, path)


def _refuse_unsupported(
    tensor: oip.ModelInferRequest.InferInputTensor | oip.ModelInferRequest.InferRequestedOutputTensor, path: str
) -> None:
    if not tensor.parameters:
        return
    for name in _UNSUPPORTED:
        if name in tensor.parameters:
            raise InvalidArgument(f"parameter {name} is not supported", field=f"{path}.parameters[{name}]")


def _raw(raw: bytes, spec: TensorSpec, shape: tuple[int, ...], index: int) -> Array:
    try:
        return unpack(raw, spec.datatype, shape)
    except ValueError as error:
        message = f"{len(raw)} bytes do not fill input {spec.name!r} of {spec.datatype} {list(shape)}: {error}"
        raise ShapeMismatch(message, field=f"raw_input_contents[{index}]") from error


def _typed(
    tensor: oip.ModelInferRequest.InferInputTensor, spec: TensorSpec, shape: tuple[int, ...], index: int
) -> Array:
    contents = CONTENTS.get(spec.datatype)
    if contents is None:
        message = f"{spec.datatype} has no typed contents: send raw_input_contents"
        raise TypeMismatch(message, field=f"inputs[{index}].contents")
    path = f"inputs[{index}].contents.{contents}"
    values = getattr(tensor.contents, contents)
    if len(values) != math.prod(shape):
        raise ShapeMismatch(f"{len(values)} values for {list(shape)}", field=path)
    try:
        return np.fromiter(values, DTYPES[spec.datatype], len(values)).reshape(shape)
    except OverflowError as error:
        raise TypeMismatch(f"a value is no {spec.datatype}: {error}", field=path) from error


def _deadlines(text: str, rows: int) -> list[float]:
    """Read the deadline of each row, or one for all, in monotonic seconds."""
    now = time.monotonic()
    path = f"parameters[{ROW_TIMES}]"
    try:
        deadlines = [now + float(part) / 1000 for part in text.split(",")]
    except ValueError as error:
        raise InvalidArgument(f"not milliseconds separated by commas: {error}", field=path) from error
    if len(deadlines) not in {1, rows}:
        raise LengthMismatch(f"{len(deadlines)} times for {rows} rows; give one, or one a row", field=path)
    if not math.isfinite(sum(deadlines)):
        raise InvalidArgument("a time is not finite", field=path)
    return deadlines


def _surplus(name: str, index: int, signature: Signature) -> UnknownTensor | InvalidArgument:
    path = f"inputs[{index}].name"
    if name in signature.input_named:
        return InvalidArgument(f"input {name!r} is there twice", field=path)
    return UnknownTensor(f"no input {name!r}, there are: {', '.join(signature.input_named)}", field=path)


def _missing(inputs: dict[str, Array], signature: Signature) -> MissingField:
    names = [spec.name for spec in signature.inputs if spec.name not in inputs]
    violations = [FieldViolation("inputs", f"input {name!r} is missing") for name in names]
    return MissingField(f"missing: {', '.join(names)}", violations=violations)
