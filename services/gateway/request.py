"""A request against its target: every fault that does not depend on a row's values is found here, before any hop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

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
from services.gateway.target import DType, Input, KeyColumn, Source, Target
from services.mesh.deadline import Deadline
from services.mesh.errors import MissingField

if TYPE_CHECKING:
    import numpy.typing as npt

    from services.gateway.prediction import Outcome
    from services.mesh.context import CallContext

MAX_ROWS = 256
MAX_KEY_BYTES = 256


@dataclass(slots=True)
class Column:
    """A named column as it came. `kind` names the field of types.v1.Tensor that was filled; "" if none was."""

    name: str
    kind: str
    values: list[str] | list[int] | list[float] | list[bool] | list[bytes]
    null_rows: Sequence[int] = ()
    shape: Sequence[int] = ()


@dataclass(slots=True)
class Override:
    """Request-time values: `values` is [rows, width] of the input's type, `present` marks the rows that have one."""

    input_index: int
    source: Source
    values: npt.NDArray[np.generic]
    present: npt.NDArray[np.bool_] | None


@dataclass(slots=True, eq=False)
class Member:
    """A request on its way in a batch: its rows, until when, and who waits for the answer."""

    rows: int
    keys: list[list[str] | list[int]]
    overrides: list[Override]
    as_of_us: int
    deadline: Deadline
    call: CallContext | None
    answer: asyncio.Future[Outcome]
    arrived: float
    explain: bool = False

    def done(self) -> bool:
        """Return whether nobody waits any more: answered, too late, or cancelled."""
        return self.answer.done()


@dataclass(slots=True)
class PredictCall:
    """A request as it came. Times are microseconds since the epoch; `timeout_s` None means the caller set none."""

    endpoint: str
    pin: str
    entities: list[Column]
    features: list[Column]
    as_of_us: int
    prediction_id: str
    deadline: Deadline | None
    explain: bool = field(default=False)


def checked_keys(columns: list[Column], target: Target) -> list[list[str] | list[int]]:
    """Return the key columns in the target's order; raises for columns that are unknown, missing, empty or uneven."""
    index = target.key_index
    found: list[list[str] | list[int] | None] = [None] * len(index)
    for position, column in enumerate(columns):
        place = index.get(column.name)
        if place is None:
            raise UnknownEntity(
                f"{target.model} takes no key column {column.name!r}; it takes {', '.join(index)}",
                field=f"entities[{position}].name",
            )
        found[place] = _checked_key(column, target.keys[place], f"entities[{position}]")
    for key, values in zip(target.keys, found, strict=True):
        if values is None:
            raise MissingKey(f"key column {key.name!r} is missing", field="entities", column=key.name)
    return found  # type: ignore[return-value]  # the loop above has refused every None


def _checked_key(column: Column, key: KeyColumn, path: str) -> list[str] | list[int]:
    wanted = "ints" if key.is_int else "strings"
    if column.kind != wanted:
        if not column.kind:
            raise MissingKey(f"key column {key.name!r} has no values", field=f"{path}.{wanted}", column=key.name)
        raise TypeMismatch(f"key column {key.name!r} takes {wanted}, not {column.kind}", field=f"{path}.{column.kind}")
    if column.null_rows:
        raise MissingKey(f"key column {key.name!r} may not have null rows", field=f"{path}.null_rows")
    if key.is_int:
        return cast("list[int]", column.values)
    texts = cast("list[str]", column.values)
    for row, text in enumerate(texts):
        if not text:
            raise MissingKey(f"key {key.name!r} is empty in row {row}", field=f"{path}.strings[{row}]")
        # A character is at most four bytes, so the exact length is rarely needed.
        if len(text) > MAX_KEY_BYTES // 4 and len(text.encode()) > MAX_KEY_BYTES:
            raise KeyTooLong(
                f"key {key.name!r} exceeds {MAX_KEY_BYTES} bytes in row {row}", field=f"{path}.strings[{row}]"
            )
    return texts


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
        raise RowsOutOfRange(f"a request has 1 to {MAX_ROWS} rows, this one {rows}", field="entities")
    return rows


def checked_features(columns: list[Column], target: Target, rows: int) -> list[Override]:
    """Return the request-time values as arrays; raises for what is unknown, missing, or of a wrong type or shape."""
    overrides: list[Override] = []
    for position, column in enumerate(columns):
        places = target.overridable.get(column.name)
        if places is None:
            raise UnknownFeature(
                f"{target.model} {target.version} takes no feature {column.name!r}; it takes "
                f"{', '.join(target.overridable) or 'none'}",
                field=f"features[{position}].name",
            )
        for index, source in places:
            overrides.append(_override(column, target.inputs[index], index, source, rows, f"features[{position}]"))
    if target.required:
        _refuse_missing(columns, target)
    return overrides


def _refuse_missing(columns: list[Column], target: Target) -> None:
    missing = target.required.keys() - {column.name for column in columns}
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
            field=f"{path}.{column.kind}",
        )
    if len(column.values) != rows * source.width:
        _refuse_length(column, source, rows, path)
    values = _array(column, feed, path).reshape(rows, source.width)
    present = None
    if column.null_rows:
        present = np.ones(rows, dtype=np.bool_)
        present[[row for row in column.null_rows if row < rows]] = False
    if feed.finite and feed.dtype.is_float:
        finite = np.isfinite(values.astype(np.float64)).all(axis=1)
        if not (finite if present is None else finite | ~present).all():
            raise NonFiniteValue(f"feature {column.name!r} may not be NaN or infinite", field=path)
    return Override(index, source, values, present)


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
        return np.array(column.values, dtype=feed.dtype.numpy)
    except (OverflowError, ValueError) as error:
        raise TypeMismatch(f"a value of {column.name!r} does not fit {feed.dtype.name}", field=path) from error


def _width(column: Column, target: Target) -> int:
    places = target.overridable.get(column.name)
    return places[0][1].width if places else 1


def member_of(call: PredictCall, target: Target, deadline: Deadline, running: CallContext | None) -> Member:
    """Return the request as a member of a batch; raises MeshErrors for every fault of the whole request."""
    keys = checked_keys(call.entities, target)
    rows = row_count(keys, call.features, target)
    overrides = checked_features(call.features, target, rows) if call.features or target.required else []
    loop = asyncio.get_running_loop()
    return Member(
        rows, keys, overrides, call.as_of_us, deadline, running, loop.create_future(), loop.time(), call.explain
    )
