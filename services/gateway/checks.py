"""A request against its target: every fault that does not depend on a row's values is found here, before any hop."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, cast

import numpy as np

from services.gateway.assembly import zero
from services.gateway.errors import (
    KeyTooLong,
    LengthMismatch,
    MissingKey,
    NonFiniteValue,
    RowsOutOfRange,
    ShapeMismatch,
    TypeMismatch,
    UnknownEntity,
    UnknownFeature,
)
from services.gateway.request import Column, Member, Override, PredictCall
from services.gateway.target import DType, Input, KeyColumn, Source, Target
from services.mesh.deadline import Deadline
from services.mesh.errors import InvalidArgument, MeshError, MissingField

if TYPE_CHECKING:
    import numpy.typing as npt

    from services.gateway.prediction import Outcome
    from services.mesh.context import CallContext

MAX_ROWS = 256
# Of the key columns of one entity together, as the feature service stores them.
MAX_KEY_BYTES = 256
INT_KEY_BYTES = 8


def checked_keys(columns: list[Column], target: Target) -> list[list[str] | list[int]]:
    """Return the key columns in the target's order; raises for what is unknown, missing, empty, uneven or too long."""
    index = target.key_index
    found: list[list[str] | list[int] | None] = [None] * len(index)
    longest = [0] * len(index)
    for position, column in enumerate(columns):
        place = index.get(column.name)
        if place is None:
            raise UnknownEntity(
                f"{target.model} takes no key column {column.name!r}; it takes {', '.join(index) or 'none'}",
                field=f"entities[{position}].name",
            )
        if found[place] is not None:
            raise InvalidArgument(f"key column {column.name!r} is there twice", field=f"entities[{position}].name")
        found[place], longest[place] = _checked_key(column, target.keys[place], f"entities[{position}]")
    for key, values in zip(target.keys, found, strict=True):
        if values is None:
            raise MissingKey(f"key column {key.name!r} is missing", field="entities", column=key.name)
    if sum(longest) > MAX_KEY_BYTES:
        _check_lengths(columns, target, longest)
    return cast("list[list[str] | list[int]]", found)


def _checked_key(column: Column, key: KeyColumn, path: str) -> tuple[list[str] | list[int], int]:
    """Return the values, and how many bytes the longest of them has at most."""
    wanted = "ints" if key.is_int else "strings"
    if column.kind != wanted and column.kind:
        raise TypeMismatch(f"key column {key.name!r} takes {wanted}, not {column.kind}", field=f"{path}.{column.kind}")
    if column.dtype is not None:
        _check_dtype(column, DType.INT64 if key.is_int else DType.BYTES, path)
    if column.null_rows:
        raise MissingKey(f"key column {key.name!r} may not have null rows", field=f"{path}.null_rows")
    if column.shape and list(column.shape) != [len(column.values)]:
        raise ShapeMismatch(
            f"key column {key.name!r} has {len(column.values)} values, not {list(column.shape)}", field=f"{path}.shape"
        )
    if key.is_int:
        return cast("list[int]", column.values), INT_KEY_BYTES
    texts = cast("list[str]", column.values)
    if not all(texts):
        row = texts.index("")
        raise MissingKey(f"key {key.name!r} is empty in row {row}", field=f"{path}.strings[{row}]")
    # A character is at most four bytes, so the exact length is rarely needed.
    return texts, 4 * max(map(len, texts)) if texts else 0


def _check_lengths(columns: list[Column], target: Target, longest: list[int]) -> None:
    """Raise if the columns of one entity are too long together; `longest` has an upper bound by key column."""
    for entity in target.entities:
        if sum(longest[place] for place in entity) > MAX_KEY_BYTES:
            _check_rows(columns, [target.keys[place].name for place in entity])


def _check_rows(columns: list[Column], names: list[str]) -> None:
    path = {column.name: f"entities[{position}].{column.kind}" for position, column in enumerate(columns)}
    values = {column.name: column.values for column in columns}
    for row, key in enumerate(zip(*(values[name] for name in names), strict=False)):
        sizes = [len(value.encode()) if isinstance(value, str) else INT_KEY_BYTES for value in key]
        if sum(sizes) > MAX_KEY_BYTES:
            longest = names[sizes.index(max(sizes))]
            message = f"key {' and '.join(names)} exceeds {MAX_KEY_BYTES} bytes in row {row}"
            raise KeyTooLong(message, field=f"{path[longest]}[{row}]")


def row_count(keys: list[list[str] | list[int]], features: list[Column], target: Target) -> int:
    """Return the number of rows that all columns agree on; raises LengthMismatch or RowsOutOfRange."""
    if keys:
        rows = len(keys[0])
        for key, values in zip(target.keys, keys, strict=True):
            if len(values) != rows:
                raise LengthMismatch(
                    f"column {key.name!r} has {len(values)} rows, {target.keys[0].name!r} has {rows}", field="entities"
                )
    elif features:
        rows = len(features[0].values) // max(1, _width(features[0], target))
    else:
        rows = 0
    if not 1 <= rows <= MAX_ROWS:
        field = "entities" if target.keys else "features"
        raise RowsOutOfRange(f"a request has 1 to {MAX_ROWS} rows, this one {rows}", field=field)
    return rows


def checked_features(columns: list[Column], target: Target, rows: int) -> list[Override]:
    """Return the request-time values as arrays; raises for what is unknown, missing, or of a wrong type or shape."""
    overrides: list[Override] = []
    seen: set[str] = set()
    for position, column in enumerate(columns):
        places = target.overridable.get(column.name)
        if places is None:
            # Stored values, which a request may replace, are many, and a long text is cut.
            taken = sorted(target.overridable, key=lambda name: ":" in name)
            raise UnknownFeature(
                f"{target.model} {target.version} takes no feature {column.name!r}; it takes "
                f"{', '.join(taken) or 'none'}",
                field=f"features[{position}].name",
            )
        if column.name in seen:
            raise InvalidArgument(f"feature {column.name!r} is there twice", field=f"features[{position}].name")
        seen.add(column.name)
        for index, source in places:
            overrides.append(_override(column, target.inputs[index], index, source, rows, f"features[{position}]"))
    if target.required:
        _refuse_missing(seen, target)
    return overrides


def _refuse_missing(seen: set[str], target: Target) -> None:
    missing = target.required.keys() - seen
    if missing:
        names = ", ".join(sorted(missing))
        raise MissingField(f"{target.model} {target.version} needs the features {names}", field="features")


# Which fields of types.v1.Tensor may hold an element type.
_KINDS = {
    DType.BOOL: {"bools"},
    DType.UINT64: {"uints", "ints"},
    DType.FP16: {"floats", "doubles", "ints"},
    DType.FP32: {"floats", "doubles", "ints"},
    DType.FP64: {"doubles", "floats", "ints"},
    DType.BYTES: {"strings", "blobs"},
}


def _override(column: Column, feed: Input, index: int, source: Source, rows: int, path: str) -> Override:
    if column.kind not in _KINDS.get(feed.dtype, {"ints"}):
        raise TypeMismatch(
            f"feature {column.name!r} is {feed.dtype.name}; got {column.kind or 'no values'}",
            field=f"{path}.{column.kind}" if column.kind else path,
        )
    if column.dtype is not None:
        _check_dtype(column, feed.dtype, path)
    if len(column.values) != rows * source.width:
        _refuse_length(column, source, rows, path)
    if column.shape:
        _check_shape(column, source, rows, path)
    present = _present(column, source, feed.dtype, rows, path) if column.null_rows else None
    values = _array(column, feed, path).reshape(rows, source.width)
    if feed.finite and feed.dtype.is_float:
        finite = np.isfinite(values).all(axis=1)
        if not (finite if present is None else finite | ~present).all():
            raise NonFiniteValue(f"feature {column.name!r} may not be NaN or infinite", field=path)
    if present is not None and feed.has_null:
        values[~present] = np.nan
    return Override(index, source, values, present)


def _check_dtype(column: Column, wanted: DType, path: str) -> None:
    if column.dtype is not None and column.dtype is not wanted:
        raise TypeMismatch(f"{column.name!r} is {wanted.name}, not {column.dtype.name}", field=f"{path}.data_type")


def _check_shape(column: Column, source: Source, rows: int, path: str) -> None:
    if column.shape[0] != rows or math.prod(column.shape[1:]) != source.width:
        wanted = [rows] if source.width == 1 else [rows, source.width]
        message = f"feature {column.name!r} has the shape {wanted}, not {list(column.shape)}"
        raise ShapeMismatch(message, field=f"{path}.shape")


def _present(column: Column, source: Source, dtype: DType, rows: int, path: str) -> npt.NDArray[np.bool_]:
    """Mark the rows that have a value, and put zeros where there is none: what stands there is to be ignored."""
    present = np.ones(rows, dtype=np.bool_)
    for row in column.null_rows:
        if row >= rows:
            raise InvalidArgument(f"feature {column.name!r} has no row {row}", field=f"{path}.null_rows")
        present[row] = False
        start = row * source.width
        column.values[start : start + source.width] = [zero(dtype)] * source.width  # type: ignore[list-item]
    return present


def _refuse_length(column: Column, source: Source, rows: int, path: str) -> None:
    if source.width > 1:
        raise ShapeMismatch(
            f"feature {column.name!r} takes {source.width} values a row for {rows} rows; got {len(column.values)}",
            field=path,
        )
    raise LengthMismatch(f"feature {column.name!r} has {len(column.values)} values for {rows} rows", field=path)


def _array(column: Column, feed: Input, path: str) -> npt.NDArray[np.generic]:
    if feed.dtype is DType.BYTES:
        array = np.empty(len(column.values), dtype=object)
        array[:] = [value.encode() if isinstance(value, str) else value for value in column.values]
        return array
    try:
        # A number that is too large must not become infinity in silence.
        with np.errstate(over="raise"):
            return np.array(column.values, dtype=feed.dtype.numpy)
    except (OverflowError, FloatingPointError) as error:
        raise TypeMismatch(f"a value of {column.name!r} does not fit {feed.dtype.name}", field=path) from error


def _width(column: Column, target: Target) -> int:
    places = target.overridable.get(column.name)
    return places[0][1].width if places else 1


def member_of(call: PredictCall, target: Target, deadline: Deadline, running: CallContext | None) -> Member:
    """Return the request as a member of a batch; raises MeshErrors for every fault of the whole request."""
    keys, rows, overrides = _checked(call, target)
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    return Member(rows, keys, overrides, call.as_of_us, deadline, running, answer, time.monotonic(), call.explain)


def takes(target: Target, call: PredictCall) -> bool:
    """Whether the target finds no fault of the whole request."""
    try:
        _checked(call, target)
    except MeshError:
        return False
    return True


def _checked(call: PredictCall, target: Target) -> tuple[list[list[str] | list[int]], int, list[Override]]:
    """Return the request's keys, rows and values."""
    keys = checked_keys(call.entities, target)
    rows = row_count(keys, call.features, target)
    return keys, rows, checked_features(call.features, target, rows) if call.features or target.required else []
