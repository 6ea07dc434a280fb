"""Feature rows in CSV and Parquet files, checked against their view before any of them is sent."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from predictmesh.registry.v1.feature_view_pb2 import FeatureField, FeatureView, KeyType
from services.cli.errors import Mistake
from services.cli.values import DATA_TYPES, type_name

BATCH_ROWS = 1_000
_READ_ROWS = 10 * BATCH_ROWS
_MICROSECONDS = pa.timestamp("us")
# Arrow makes infinity of what is larger, and says nothing.
_LARGEST = {DATA_TYPES["FP16"]: 65_504.0, DATA_TYPES["FP32"]: 3.4028234663852886e38}
ARROW_TYPES = {
    DATA_TYPES["BOOL"]: pa.bool_(), DATA_TYPES["UINT8"]: pa.uint8(), DATA_TYPES["UINT16"]: pa.uint16(),
    DATA_TYPES["UINT32"]: pa.uint32(), DATA_TYPES["UINT64"]: pa.uint64(), DATA_TYPES["INT8"]: pa.int8(),
    DATA_TYPES["INT16"]: pa.int16(), DATA_TYPES["INT32"]: pa.int32(), DATA_TYPES["INT64"]: pa.int64(),
    # Arrow reads no text as half precision; the service rounds what it is given.
    DATA_TYPES["FP16"]: pa.float32(), DATA_TYPES["FP32"]: pa.float32(), DATA_TYPES["FP64"]: pa.float64(),
    DATA_TYPES["BYTES"]: pa.string(),
}  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Some rows of a file: Arrow arrays of the view's types by column, and event times in microseconds.

    `first` counts the rows of the file from 1. Without a column of event times there is one for all rows.
    """

    first: int
    columns: Mapping[str, Any]
    event_times: Any

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


class FeatureFile:
    """A file of rows of one view. Mistake if its columns are not those of the view.

    `event_time` is the column of event times, or microseconds since the epoch for all rows.
    """

    def __init__(self, path: Path, view: FeatureView, event_time: str | int) -> None:
        self._path, self._view, self._event_time = path, view, event_time
        self._types = _column_types(view)
        self._is_csv = path.suffix.lower() != ".parquet"
        self._check_columns()

    def rows(self) -> Iterator[Rows]:
        """Yield the rows in order, at most `BATCH_ROWS` together. Mistake, naming the row, if a value does not fit."""
        first = 1
        try:
            for chunk in self._chunks():
                for start in range(0, chunk.num_rows, BATCH_ROWS):
                    rows = self._checked(chunk.slice(start, BATCH_ROWS), first)
                    yield rows
                    first += len(rows)
        except (pa.ArrowException, OSError) as error:
            raise Mistake(f"{self._path}, after row {first - 1}: {self._named(error)}") from error

    def _check_columns(self) -> None:
        try:
            names = self._column_names()
        except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
            raise Mistake(f"cannot read {self._path}: {error}") from error
        expected = [*self._types, *([self._event_time] if isinstance(self._event_time, str) else [])]
        faults = {
            "missing": [name for name in expected if name not in names],
            "unknown": [name for name in names if name not in expected],
            "twice": sorted({name for name in names if names.count(name) > 1}),
        }
        found = "; ".join(f"{fault}: {', '.join(columns)}" for fault, columns in faults.items() if columns)
        if found:
            raise Mistake(
                f"columns of {self._path} are wrong; {found} (view {self._view.name} takes {', '.join(expected)})"
            )
        lists = [field.name for field in self._view.fields if field.length]
        if lists and self._is_csv:
            raise Mistake(f"CSV cannot hold the lists of {', '.join(lists)} (use Parquet)")

    def _column_names(self) -> list[str]:
        if not self._is_csv:
            return list(pa.parquet.read_schema(self._path).names)
        # Arrow would convert the first values before anybody has looked at the names.
        with self._path.open(newline="", encoding="utf-8-sig") as lines:
            return next(csv.reader(lines), [])

    def _named(self, error: Exception) -> str:
        """Return the text of an error of Arrow, which counts the columns of CSV, with their names."""
        names = self._column_names() if self._is_csv else []
        return re.sub(r"In CSV column #(\d+)", lambda match: f"column {names[int(match[1])]}", str(error))

    def _open_csv(self) -> Any:  # noqa: ANN401 - pyarrow has no types
        # In double precision, so that what is too large for single precision is seen.
        types = {name: pa.float64() if kind == pa.float32() else kind for name, kind in self._types.items()}
        return pa.csv.open_csv(self._path, convert_options=pa.csv.ConvertOptions(column_types=types))

    def _chunks(self) -> Iterator[Any]:
        if not self._is_csv:
            yield from pa.parquet.ParquetFile(self._path).iter_batches(_READ_ROWS)
            return
        with self._open_csv() as reader:
            yield from reader

    def _checked(self, part: Any, first: int) -> Rows:  # noqa: ANN401
        for field in self._view.fields:
            self._refuse_overflow(part.column(field.name), field, first)
        columns = {name: part.column(name).cast(kind) for name, kind in self._types.items()}
        for key in self._view.entity.keys:
            self._refuse_empty(columns[key.name], key.name, first)
        for field in self._view.fields:
            if field.length:
                self._check_lists(columns[field.name], field.name, field.length, first)
        if not isinstance(self._event_time, str):
            return Rows(first, columns, pa.array([self._event_time], pa.int64()))
        times = self._event_times(part.column(self._event_time))
        self._refuse_empty(times, self._event_time, first)
        return Rows(first, columns, times)

    def _refuse_empty(self, column: Any, name: str, first: int) -> None:  # noqa: ANN401
        empty = column.is_null()
        if pa.types.is_string(column.type):
            empty = pc.or_kleene(empty, pc.equal(column, ""))
        self._refuse(empty, f"{name} is empty", first)

    def _refuse_overflow(self, column: Any, field: FeatureField, first: int) -> None:  # noqa: ANN401
        values = column.flatten() if field.length and pa.types.is_list(column.type) else column
        if field.data_type not in _LARGEST or not pa.types.is_floating(values.type):
            return
        too_large = pc.and_(pc.is_finite(values), pc.greater(pc.abs(values), _LARGEST[field.data_type]))
        why = f"{field.name} is outside of {type_name(field.data_type)}"
        if values is column:
            self._refuse(too_large, why, first)
        elif pc.any(too_large).as_py():
            raise Mistake(f"{self._path}, {_span(first, column)}: an element of {why}")

    def _check_lists(self, column: Any, name: str, length: int, first: int) -> None:  # noqa: ANN401
        wrong = pc.not_equal(pc.list_value_length(column), length)
        self._refuse(wrong, f"{name} must have {length} elements", first)
        if column.flatten().null_count:
            raise Mistake(f"{self._path}, {_span(first, column)}: an element of {name} is null")

    def _refuse(self, wrong: Any, why: str, first: int) -> None:  # noqa: ANN401
        index = wrong.index(pa.scalar(True)).as_py()
        if index >= 0:
            raise Mistake(f"{self._path}, row {first + index}: {why}")

    def _event_times(self, column: Any) -> Any:  # noqa: ANN401
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            # Finer times than microseconds are cut.
            return column.cast(_MICROSECONDS, safe=False).cast(pa.int64())
        if pa.types.is_integer(column.type) or pa.types.is_null(column.type):
            return column.cast(pa.int64())
        raise Mistake(
            f"{self._path}: {self._event_time} is {column.type} (give RFC 3339, or microseconds since the epoch)"
        )


def _span(first: int, column: Any) -> str:  # noqa: ANN401
    return f"rows {first} to {first + len(column) - 1}"


def _column_types(view: FeatureView) -> dict[str, Any]:
    keys = {key.name: pa.int64() if key.type == KeyType.KEY_TYPE_INT64 else pa.string() for key in view.entity.keys}
    fields = {
        field.name: pa.list_(ARROW_TYPES[field.data_type]) if field.length else ARROW_TYPES[field.data_type]
        for field in view.fields
    }
    return keys | fields
