"""Values as people write them, in YAML or on the command line, as typed tensors."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor

DATA_TYPES = {name.removeprefix("DATA_TYPE_"): value for name, value in DataType.items() if value}
"""Every data type by its name in the Open Inference Protocol."""

_INTEGER_RANGES = {
    DATA_TYPES[f"{prefix}{bits}"]: (0, 2**bits - 1) if prefix == "UINT" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for prefix in ("INT", "UINT")
    for bits in (8, 16, 32, 64)
}
_FLOAT_FORMATS = {DATA_TYPES["FP16"]: "<e", DATA_TYPES["FP32"]: "<f", DATA_TYPES["FP64"]: "<d"}


def type_name(data_type: DataType.ValueType) -> str:
    """Return the name of a data type, e.g. FP32."""
    return DataType.Name(data_type).removeprefix("DATA_TYPE_")


def check(value: object, data_type: DataType.ValueType) -> object:
    """Return `value` if it is one of `data_type`. ValueError with the reason if it is not."""
    if data_type == DataType.DATA_TYPE_BOOL:
        valid = isinstance(value, bool)
    elif data_type == DataType.DATA_TYPE_BYTES:
        valid = isinstance(value, str | bytes)
    elif data_type in _FLOAT_FORMATS:
        valid = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        valid = isinstance(value, int) and not isinstance(value, bool)
    if not valid:
        raise ValueError(f"{value!r} is no {type_name(data_type)}")
    if isinstance(value, str):
        _check_text(value)
    _check_range(value, data_type)
    return value


def _check_text(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{value!r} is not UTF-8") from None


def _check_range(value: object, data_type: DataType.ValueType) -> None:
    if data_type in _INTEGER_RANGES and isinstance(value, int):
        low, high = _INTEGER_RANGES[data_type]
        if not low <= value <= high:
            raise ValueError(f"{value} is outside of {type_name(data_type)}: {low} to {high}")
    if data_type in _FLOAT_FORMATS and isinstance(value, int | float):
        try:
            struct.pack(_FLOAT_FORMATS[data_type], value)
        except (OverflowError, struct.error):
            raise ValueError(f"{value} is outside of {type_name(data_type)}") from None


def natural_type(values: Sequence[object], floats: DataType.ValueType) -> DataType.ValueType:
    """Return the type that values have by themselves: BOOL, INT64, `floats`, or BYTES."""
    if all(isinstance(value, bool) for value in values):
        return DataType.DATA_TYPE_BOOL
    if all(isinstance(value, int) for value in values):
        return DataType.DATA_TYPE_INT64
    return floats if all(isinstance(value, int | float) for value in values) else DataType.DATA_TYPE_BYTES


def parse(text: str, data_type: DataType.ValueType) -> object:
    """Return the value that `text` writes. ValueError with the reason if it is none of `data_type`."""
    value: object = text
    try:
        if data_type == DataType.DATA_TYPE_BOOL:
            value = {"true": True, "false": False}[text.lower()]
        elif data_type in _FLOAT_FORMATS:
            value = float(text)
        elif data_type in _INTEGER_RANGES:
            value = int(text)
    except (KeyError, ValueError):
        raise ValueError(f"{text!r} is no {type_name(data_type)}") from None
    return check(value, data_type)


def fill(tensor: Tensor, values: Sequence[object], data_type: DataType.ValueType) -> Tensor:
    """Set the data type and values of `tensor`, and return it. ValueError with the reason if a value does not fit."""
    checked = [check(value, data_type) for value in values]
    tensor.data_type = data_type
    field = values_field(data_type, blobs=any(isinstance(value, bytes) for value in checked))
    if field == "blobs":
        checked = [value.encode() if isinstance(value, str) else value for value in checked]
    getattr(tensor, field).extend(checked)
    return tensor


def values_field(data_type: DataType.ValueType, *, blobs: bool = False) -> str:
    """Return the name of the tensor's field that holds values of `data_type`."""
    if data_type == DataType.DATA_TYPE_BOOL:
        return "bools"
    if data_type == DataType.DATA_TYPE_BYTES:
        return "blobs" if blobs else "strings"
    if data_type == DataType.DATA_TYPE_UINT64:
        return "uints"
    if data_type in _INTEGER_RANGES:
        return "ints"
    return "doubles" if data_type == DataType.DATA_TYPE_FP64 else "floats"


VALUE_FIELDS = ("bools", "ints", "uints", "floats", "doubles", "strings", "blobs")


def values_of(tensor: Tensor) -> list[object]:
    """Return the values of `tensor` in order; single precision as the shortest number that reads back the same."""
    for field in VALUE_FIELDS:
        values = getattr(tensor, field)
        if values:
            return [shortest(value) for value in values] if field == "floats" else list(values)
    return []


def whole(number: float) -> float:
    """Return `number` as people write it: 95 rather than 95.0."""
    return int(number) if number == int(number) else number


def shortest(value: float) -> float:
    """Return the number of fewest digits that is `value` in single precision: 0.1 rather than 0.10000000149011612."""
    if not math.isfinite(value):
        return value
    bits = struct.pack("<f", value)
    for digits in range(6, 9):
        number = float(f"{value:.{digits}g}")
        if struct.pack("<f", number) == bits:
            return number
    return float(f"{value:.9g}")
