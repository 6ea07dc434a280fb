"""Takes rows in: checks a batch, packs its rows, writes them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from services.features.codec import Values, ViewCodec
from services.features.columns import Column, field_values, key_values
from services.features.errors import LengthMismatch, RowsOutOfRange, UnknownField, UnknownKeyColumn, UnknownView
from services.features.keys import KeyEncoder, column_at_fault, encode_valid, encoder, rows_of
from services.features.stores import WritableStore
from services.features.views import Catalog, View
from services.mesh.errors import InvalidArgument, MeshError, MissingField
from services.mesh.telemetry import names

Rejected = dict[int, MeshError]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one view as a request brings them. `path` is where the batch stands in the request."""

    view: str
    keys: Mapping[str, Column]
    values: Mapping[str, Column]
    event_time_us: npt.NDArray[np.int64]
    path: str = "batch"


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Rows ready to be written, in order, and the rows of the batch that are not among them, with their errors."""

    view: str
    ttl_ms: int
    keys: list[bytes]
    rows: list[bytes]
    rejected: Rejected


@dataclass(slots=True)
class Written:
    """How many rows were written or left alone because a later event is stored, and which were rejected."""

    written: int = 0
    superseded: int = 0
    rejected: Rejected = field(default_factory=dict)


@dataclass(frozen=True)
class _Writer:
    """What is made once for a view that is written to."""

    view: View
    codec: ViewCodec
    encode: KeyEncoder
    suffix: bytes


class Ingest:
    """Writes feature values. `catalog` gives the views in use."""

    def __init__(self, store: WritableStore, catalog: Callable[[], Catalog], *, max_rows: int) -> None:
        self._store = store
        self._catalog = catalog
        self._max_rows = max_rows
        self._writers: dict[str, _Writer] = {}

    async def write(self, batch: Batch) -> Written:
        """Write one batch. Raises what is wrong with the batch, or with its first row if all of them are rejected."""
        prepared = self.prepare(batch)
        if not prepared.rows:
            raise next(iter(prepared.rejected.values()))
        written, superseded = await self.apply(prepared.view, prepared.ttl_ms, prepared.keys, prepared.rows)
        return Written(written, superseded, prepared.rejected)

    async def apply(self, view: str, ttl_ms: int, keys: Sequence[bytes], rows: Sequence[bytes]) -> tuple[int, int]:
        """Write prepared rows of one view; return how many were written, and how many left alone."""
        taken = int((await self._store.put_many(keys, rows, ttl_ms)).sum())
        names.FEATURE_WRITTEN_ROWS.labels(view).inc(taken)
        names.FEATURE_SUPERSEDED_ROWS.labels(view).inc(len(rows) - taken)
        return taken, len(rows) - taken

    def prepare(self, batch: Batch) -> PreparedBatch:
        """Check a batch and pack its rows. Raises what is wrong with the batch as a whole."""
        writer = self._writer(batch)
        columns = key_values(writer.view.entity, batch.keys, f"{batch.path}.keys")
        rows = rows_of(columns)
        self._check(batch, writer.view, len(rows))
        keys, rejected = _encode_keys(writer, rows, batch)
        values = self._values(batch, writer.view, len(rows), rejected)
        times = np.broadcast_to(batch.event_time_us, len(rows))
        for row in np.nonzero(times <= 0)[0].tolist():
            place = row if len(batch.event_time_us) > 1 else 0
            path = f"{batch.path}.event_time_us[{place}]"
            rejected.setdefault(row, InvalidArgument("The event time is not after the epoch", field=path))
        packed = writer.codec.encode(times, values)
        names.FEATURE_REJECTED_ROWS.labels(batch.view).inc(len(rejected))
        store_keys = [key + writer.suffix for key in keys]
        if rejected:
            kept = [row for row in range(len(rows)) if row not in rejected]
            store_keys, packed = [store_keys[row] for row in kept], [packed[row] for row in kept]
        return PreparedBatch(batch.view, writer.view.ttl_ms, store_keys, packed, dict(sorted(rejected.items())))

    def _writer(self, batch: Batch) -> _Writer:
        view = self._catalog().views.get(batch.view)
        if view is None:
            raise UnknownView(f"No view {batch.view!r}", field=f"{batch.path}.view")
        writer = self._writers.get(view.name)
        if writer is None or writer.view is not view:
            writer = _Writer(view, ViewCodec(view), encoder(view.entity), view.name.encode())
            self._writers[view.name] = writer
        return writer

    def _check(self, batch: Batch, view: View, rows: int) -> None:
        """Check what concerns the batch as a whole: names, number of rows, number of event times."""
        if rows > self._max_rows:
            raise RowsOutOfRange(f"{rows} rows; 1 to {self._max_rows} are allowed", field=f"{batch.path}.keys")
        columns = {column.name for column in view.entity.columns}
        for column in batch.keys.values():
            if column.name not in columns:
                raise UnknownKeyColumn(f"Entity {view.entity.name!r} has no key {column.name!r}", field=column.path)
        for column in batch.values.values():
            if column.name not in view.field_index:
                raise UnknownField(f"View {view.name!r} has no field {column.name!r}", field=column.path)
        times = len(batch.event_time_us)
        if not times:
            raise MissingField("There is no event time", field=f"{batch.path}.event_time_us")
        if times not in {1, rows}:
            message = f"{times} event times; give one, or one for each of {rows} rows"
            raise LengthMismatch(message, field=f"{batch.path}.event_time_us")

    def _values(self, batch: Batch, view: View, rows: int, rejected: Rejected) -> dict[int, Values]:
        values: dict[int, Values] = {}
        for column in batch.values.values():
            index = view.field_index[column.name]
            definition = view.fields[index]
            if not column.values and len(column.null_rows) == rows:
                continue
            values[index], unfit = field_values(column, definition, rows)
            if unfit is not None:
                message = f"A value does not fit {definition.data_type.name}"
                for row in np.nonzero(unfit)[0].tolist():
                    path = f"{column.path}.{column.filled}[{row * definition.elements}]"
                    rejected.setdefault(row, InvalidArgument(message, field=path))
        return values


def _encode_keys(writer: _Writer, rows: Sequence[Hashable], batch: Batch) -> tuple[list[bytes], Rejected]:
    """Encode the keys; name the value at fault in each error."""
    try:
        return [writer.encode(row) for row in rows], {}
    except MeshError:
        keys, errors = encode_valid(writer.encode, rows)
    columns = [column.name for column in writer.view.entity.columns]
    rejected: Rejected = {}
    for row, error in errors.items():
        column = batch.keys[columns[column_at_fault(rows[row])]]
        rejected[row] = type(error)(error.message, field=f"{column.path}.{column.filled}[{row}]")
    return keys, rejected
