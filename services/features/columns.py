"""Columns of a request, and what they must be to meet a definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.features.codec import Bools, Values
from services.features.errors import LengthMismatch, MissingKey, ShapeMismatch, TypeMismatch
from services.features.views import NUMPY, DataType, Entity, Field, KeyType
from services.mesh.errors import InvalidArgument

# The field of a Tensor's values that each type fills; BYTES may fill either of two.
FILLED_BY: Mapping[DataType, tuple[str, ...]] = {
    **dict.fromkeys(DataType, ("ints",)),
    DataType.BOOL: ("bools",),
    DataType.UINT64: ("uints",),
    DataType.FP16: ("floats",),
    DataType.FP32: ("floats",),
    DataType.FP64: ("doubles",),
    DataType.BYTES: ("strings", "blobs"),
}
_KEY_FILLED_BY = {KeyType.STRING: "strings", KeyType.INT64: "ints"}
_KEY_TYPES = {KeyType.STRING: DataType.BYTES, KeyType.INT64: DataType.INT64}


@dataclass(frozen=True, slots=True)
class Column:
    """A named array of a request.

    `filled` names the field of values that holds them ("" when none does), `path` where the column stands in the
    request. `data_type` is None where the caller leaves it to the definition.
    """

    name: str
    path: str
    filled: str
    values: Sequence[Any]
    data_type: DataType | None = None
    shape: Sequence[int] = ()
    null_rows: Sequence[int] = ()


def key_values(entity: Entity, columns: Mapping[str, Column], path: str = "keys") -> list[Sequence[Any]]:
    """Return the values of the entity's key columns, in its order, all of one length; `path` is where they stand."""
    found = []
    for each in entity.columns:
        column = columns.get(each.name)
        if column is None or not column.values:
            raise MissingKey(f"Key column {each.name!r} is missing or empty", field=column.path if column else path)
        wanted = _KEY_FILLED_BY[each.type]
        if column.filled != wanted or column.data_type not in {None, _KEY_TYPES[each.type]}:
            message = f"Key column {each.name!r} is {each.type.name} and belongs in {wanted!r}"
            raise TypeMismatch(message, field=f"{column.path}.{column.filled}")
        if len(column.shape) > 1 or column.null_rows:
            raise ShapeMismatch(f"Key column {each.name!r} has one value a row, and no null", field=column.path)
        found.append(column)
    rows = len(found[0].values)
    for column in found:
        if len(column.values) != rows:
            message = f"Key column {column.name!r} has {len(column.values)} rows, {found[0].name!r} has {rows}"
            raise LengthMismatch(message, field=column.path)
    return [column.values for column in found]


def field_values(column: Column, field: Field, rows: int) -> tuple[Values, Bools | None]:
    """Return a column as values of a field, and which rows do not fit the field's type, if any."""
    _check_type(column, field)
    _check_shape(column, field, rows)
    nulls = _nulls(column, rows)
    if field.data_type is DataType.BYTES:
        flat = [value.encode() for value in column.values] if column.filled == "strings" else column.values
        width = field.elements
        texts = [tuple(flat[at : at + width]) for at in range(0, rows * width, width)]
        return Values(texts=texts, nulls=nulls), None
    numbers, unfit = _numbers(column, field)
    shaped = numbers.reshape(rows, field.elements)
    if unfit is None:
        return Values(shaped, nulls=nulls), None
    rows_unfit = np.asarray(unfit.reshape(rows, field.elements).any(axis=1))
    if nulls is not None:
        rows_unfit &= ~nulls
    return Values(shaped, nulls=nulls), rows_unfit


def _check_type(column: Column, field: Field) -> None:
    allowed = FILLED_BY[field.data_type]
    if column.filled not in allowed or column.data_type not in {None, field.data_type}:
        message = f"Field {field.name!r} is {field.data_type.name} and belongs in {' or '.join(map(repr, allowed))}"
        raise TypeMismatch(message, field=f"{column.path}.{column.filled}" if column.filled else column.path)


def _check_shape(column: Column, field: Field, rows: int) -> None:
    shape = [rows, field.length] if field.length else [rows]
    given = list(column.shape)
    # A single value a row may be written [rows] or [rows, 1].
    if given and given != shape and not (field.elements == 1 and given in ([rows], [rows, 1])):
        raise ShapeMismatch(f"Field {field.name!r} is {shape}, not {given}", field=f"{column.path}.shape")
    if len(column.values) != rows * field.elements:
        message = f"Field {field.name!r} has {len(column.values)} values; {rows} rows need {rows * field.elements}"
        raise LengthMismatch(message, field=f"{column.path}.{column.filled}")


def _nulls(column: Column, rows: int) -> Bools | None:
    if not column.null_rows:
        return None
    if max(column.null_rows) >= rows:
        raise InvalidArgument("A null row is beyond the last row", field=f"{column.path}.null_rows")
    nulls = np.zeros(rows, np.bool_)
    nulls[list(column.null_rows)] = True
    return nulls


def _numbers(column: Column, field: Field) -> tuple[npt.NDArray[Any], Bools | None]:
    """Return the values in the field's type, and which of them it cannot hold, if any."""
    dtype = NUMPY[field.data_type]
    if column.filled == "ints" and field.data_type is not DataType.INT64:
        wide = np.array(column.values, np.int64)
        limits = np.iinfo(dtype.name)
        unfit = (wide < limits.min) | (wide > limits.max)
        return wide.astype(dtype), unfit if unfit.any() else None
    if field.data_type is DataType.FP16:
        single = np.array(column.values, np.float32)
        with np.errstate(over="ignore"):
            half = single.astype(dtype)
        unfit = np.isinf(half) & ~np.isinf(single)
        return half, unfit if unfit.any() else None
    return np.array(column.values, dtype), None
