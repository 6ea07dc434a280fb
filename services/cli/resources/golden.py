"""Golden sets: recorded inputs and outputs of a version, from the form that people write."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from predictmesh.registry.v1.model_pb2 import GoldenRows, GoldenSet, Signature, TensorSpec
from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli.resources.cursor import Cursor
from services.cli.values import check, fill

MAX_ROWS = 256
MAX_BYTES = 1 << 20

_FLOATS = {DataType.DATA_TYPE_FP16, DataType.DATA_TYPE_FP32, DataType.DATA_TYPE_FP64}
# As writers of JSON leave what is no number; YAML has .nan and .inf of its own.
_NO_NUMBERS = {None: math.nan, "NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class Golden:
    """What is registered of a golden set, and the bytes to upload."""

    message: GoldenSet
    content: bytes


def read_golden(document: Cursor, signature: Signature) -> Golden:
    """Return the golden set that `document` records: rows of every input and output of `signature`, by name."""
    members = document.mapping(("inputs", "outputs"), ("absolute_tolerance", "relative_tolerance"))
    rows = GoldenRows(
        inputs=_read_tensors(members["inputs"], signature.inputs),
        outputs=_read_tensors(members["outputs"], signature.outputs),
    )
    _check_rows(members, rows)
    content = rows.SerializeToString()
    if len(content) > MAX_BYTES:
        document.fail(f"makes {len(content)} bytes, and a golden set has at most {MAX_BYTES}: record fewer rows")
    message = GoldenSet(sha256=hashlib.sha256(content).hexdigest())
    for name in ("absolute_tolerance", "relative_tolerance"):
        if name in members:
            setattr(message, name, members[name].at_least(0))
    return Golden(message, content)


def _read_tensors(cursor: Cursor, specs: Sequence[TensorSpec]) -> list[Tensor]:
    members = cursor.mapping([spec.name for spec in specs])
    return [_read_tensor(members[spec.name], spec) for spec in specs]


def _read_tensor(cursor: Cursor, spec: TensorSpec) -> Tensor:
    rows = cursor.items()
    if not 1 <= len(rows) <= MAX_ROWS:
        cursor.fail(f"has {len(rows)} rows, and a golden set 1 to {MAX_ROWS}")
    values = [_read_value(element, spec.data_type) for row in rows for element in _elements(row, spec.shape)]
    return fill(Tensor(name=spec.name, shape=[len(rows), *spec.shape]), values, spec.data_type)


def _elements(cursor: Cursor, shape: Sequence[int]) -> Iterator[Cursor]:
    """Yield what stands in the nested lists of one row, row-major."""
    if not shape:
        yield cursor
        return
    items = cursor.items()
    if len(items) != shape[0]:
        cursor.fail(f"has {len(items)} elements, and the signature says {shape[0]}")
    for item in items:
        yield from _elements(item, shape[1:])


def _read_value(cursor: Cursor, data_type: DataType.ValueType) -> object:
    value = cursor.value
    if data_type in _FLOATS and (value is None or isinstance(value, str)):
        value = _NO_NUMBERS.get(value, value)
    if isinstance(value, float) and math.isnan(value):
        # Readers of YAML and of JSON make it with different bits, and the digest is over bits.
        value = math.nan
    try:
        return check(value, data_type)
    except ValueError as error:
        cursor.fail(str(error))


def _check_rows(members: dict[str, Cursor], rows: GoldenRows) -> None:
    first = rows.inputs[0]
    for part, tensors in (("inputs", rows.inputs), ("outputs", rows.outputs)):
        for tensor in tensors:
            if tensor.shape[0] != first.shape[0]:
                at = members[part].members()[tensor.name]
                at.fail(f"has {tensor.shape[0]} rows, and {first.name} has {first.shape[0]}")
