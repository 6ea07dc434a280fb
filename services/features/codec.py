"""Packed rows: layout u8, schema id u32, event time i64 (us), null bitmap, fixed-width fields, tail for BYTES.

Everything is little-endian and unaligned. A null field has its bit set (the lowest bit of the first byte is the first
field) and zeros in its place; in the tail a null field has nothing, any other one uint32 length and bytes for each
element. A row is decoded by the schema it was written under; what that schema did not have yet is null.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from services.features.views import NUMPY, DataType, Field, View

LAYOUT = 1
HEAD_BYTES = 5
TIME_AT = 5
NULLS_AT = 13

Bools = npt.NDArray[np.bool_]
Table = npt.NDArray[np.void]
Texts = tuple[bytes, ...]

_HEAD = struct.Struct("<BI")
_LENGTH = struct.Struct("<I")
_TIME = struct.Struct("<q")


@dataclass(frozen=True)
class Values:
    """One field of a batch: numbers [rows, elements], or for BYTES the elements of each row; and which rows are null."""

    numbers: npt.NDArray[Any] | None = None
    texts: Sequence[Texts] = ()
    nulls: Bools | None = None


class RowLayout:
    """Where everything lies in the rows of one schema."""

    def __init__(self, schema_id: int, fields: Sequence[Field]) -> None:
        self.head = _HEAD.pack(LAYOUT, schema_id)
        self.fields = fields
        self.texts = [index for index, each in enumerate(fields) if each.data_type is DataType.BYTES]
        self.null_bytes = -(-len(fields) // 8)
        self.values_at = NULLS_AT + self.null_bytes
        self.offsets: dict[int, int] = {}
        self.width = self.values_at
        for index, each in enumerate(fields):
            if each.data_type is not DataType.BYTES:
                self.offsets[index] = self.width
                self.width += NUMPY[each.data_type].itemsize * each.elements
        runs = {
            f"f{index}": (fields[index].data_type, fields[index].elements, at) for index, at in self.offsets.items()
        }
        self.dtype = self.dtype_of(runs)

    def dtype_of(self, runs: Mapping[str, tuple[DataType, int, int]]) -> np.dtype[np.void]:
        """Return the dtype of the fixed part that shows `head`, `time`, `nulls` and each run (type, elements, offset)."""
        return np.dtype(
            {
                "names": ["head", "time", "nulls", *runs],
                "formats": [
                    f"V{HEAD_BYTES}",
                    "<i8",
                    ("u1", (self.null_bytes,)),
                    *((NUMPY[data_type], (elements,)) for data_type, elements, _ in runs.values()),
                ],
                "offsets": [0, TIME_AT, NULLS_AT, *(at for _, _, at in runs.values())],
                "itemsize": self.width,
            }
        )

    def read_tail(self, row: bytes) -> list[Texts | None] | None:
        """Return the BYTES fields of a row, each its elements or None if null; None if the tail is broken."""
        texts: list[Texts | None] = []
        at = self.width
        for index in self.texts:
            if row[NULLS_AT + index // 8] >> index % 8 & 1:
                texts.append(None)
                continue
            values = []
            for _ in range(self.fields[index].elements):
                if at + 4 > len(row):
                    return None
                (size,) = _LENGTH.unpack_from(row, at)
                values.append(row[at + 4 : at + 4 + size])
                at += 4 + size
            texts.append(tuple(values))
        return texts if at == len(row) else None


@dataclass
class Decoded:
    """A batch of rows of one view, in the layout of its present schema.

    `absent` and `nulls` [rows, fields] are None where there is nothing to say. `texts` has the BYTES fields of each row
    if they were asked for. `faults` are the rows that could not be decoded, with the cause; they count as absent.
    `unreached` [rows] are those that the store did not answer for: absent then says that nothing is known of them.
    """

    table: Table
    absent: Bools | None = None
    nulls: Bools | None = None
    texts: list[list[Texts | None] | None] | None = None
    faults: list[tuple[int, str]] = field(default_factory=list)
    unreached: Bools | None = None


class ViewCodec:
    """Encodes and decodes the rows of one view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.layout = RowLayout(view.schema_id, view.fields)
        schemas = {**view.schemas, view.schema_id: len(view.fields)}
        layouts = [RowLayout(schema_id, view.fields[:count]) for schema_id, count in schemas.items()]
        self._layouts = {layout.head: layout for layout in layouts}

    def encode(self, times_us: npt.NDArray[np.int64], columns: Mapping[int, Values]) -> list[bytes]:
        """Return the packed rows of a batch; a field that `columns` leaves out is null."""
        rows = len(times_us)
        layout = self.layout
        table = np.zeros(rows, layout.dtype)
        table["head"] = np.void(layout.head)
        table["time"] = times_us
        nulls = np.zeros((rows, len(layout.fields)), np.bool_)
        for index in range(len(layout.fields)):
            column = columns.get(index)
            if column is None:
                nulls[:, index] = True
                continue
            if column.numbers is not None:
                table[f"f{index}"] = column.numbers
            if column.nulls is not None:
                nulls[:, index] = column.nulls
                if column.numbers is not None:
                    table[f"f{index}"][column.nulls] = 0
        table["nulls"] = np.packbits(nulls, axis=1, bitorder="little")
        packed = table.tobytes()
        width = layout.width
        fixed = [packed[at : at + width] for at in range(0, rows * width, width)]
        if not layout.texts:
            return fixed
        return [part + tail for part, tail in zip(fixed, self._tails(rows, columns, nulls), strict=True)]

    def _tails(self, rows: int, columns: Mapping[int, Values], nulls: Bools) -> Iterator[bytes]:
        present = [(columns[index].texts, nulls[:, index].tolist()) for index in self.layout.texts if index in columns]
        for row in range(rows):
            values = (value for texts, null in present if not null[row] for value in texts[row])
            yield b"".join([_LENGTH.pack(len(value)) + value for value in values])

    def decode(
        self, rows: Sequence[bytes | None], dtype: np.dtype[np.void] | None = None, *, texts: bool = False
    ) -> Decoded:
        """Decode stored rows; `dtype` (of the present layout) chooses what the table shows, `texts` reads BYTES too."""
        dtype = dtype or self.layout.dtype
        decoded = self._decode_alike(rows, dtype) or self._decode_mixed(rows, dtype)
        if texts:
            self._read_texts(rows, decoded)
        return decoded

    def _decode_alike(self, rows: Sequence[bytes | None], dtype: np.dtype[np.void]) -> Decoded | None:
        """Decode rows that are all there and of the present schema, at once; None if they are not."""
        layout = self.layout
        try:
            fixed = [row[: layout.width] for row in rows] if layout.texts else rows  # type: ignore[index]
            joined = b"".join(fixed)  # type: ignore[arg-type]
        except TypeError:  # a row is absent
            return None
        count = len(rows)
        # A row of another length would move the heads of those behind it, so the total and the heads say enough.
        if len(joined) != count * layout.width:
            return None
        table = np.frombuffer(joined, dtype)
        if table["head"].tobytes() != layout.head * count:
            return None
        bitmap = table["nulls"]
        if not any(bitmap.tobytes()):
            return Decoded(table)
        return Decoded(table, nulls=_unpack_nulls(bitmap, len(layout.fields)))

    def _decode_mixed(self, rows: Sequence[bytes | None], dtype: np.dtype[np.void]) -> Decoded:
        """Decode rows of any schemas, with gaps; what is not a row of this view becomes a gap."""
        count = len(rows)
        raw = np.zeros((count, self.layout.width), np.uint8)
        nulls = np.ones((count, len(self.layout.fields)), np.bool_)
        absent = np.ones(count, np.bool_)
        decoded = Decoded(raw.view(dtype)[:, 0] if count else np.zeros(0, dtype), absent, nulls)
        groups: dict[bytes, list[int]] = {}
        for index, row in enumerate(rows):
            if row is not None:
                groups.setdefault(row[:HEAD_BYTES], []).append(index)
        for head, members in groups.items():
            layout = self._layouts.get(head)
            if layout is None:
                decoded.faults += [(index, _unknown(head)) for index in members]
                continue
            fitting = [index for index in members if _fits(layout, rows[index])]
            if len(fitting) < len(members):
                decoded.faults += [(index, "wrong length") for index in sorted({*members} - {*fitting})]
            if fitting:
                self._place(layout, fitting, rows, raw, nulls)
                absent[fitting] = False
        return decoded

    def _place(
        self, old: RowLayout, members: list[int], rows: Sequence[bytes | None], raw: npt.NDArray[np.uint8], nulls: Bools
    ) -> None:
        """Put rows of an older schema (a prefix of the present one) where the present layout has them."""
        joined = b"".join([rows[index][: old.width] for index in members])  # type: ignore[index]
        part = np.frombuffer(joined, np.uint8).reshape(len(members), old.width)
        raw[members, :NULLS_AT] = part[:, :NULLS_AT]
        at = self.layout.values_at
        raw[members, at : at + old.width - old.values_at] = part[:, old.values_at :]
        bitmap = part[:, NULLS_AT : old.values_at]
        nulls[members, : len(old.fields)] = _unpack_nulls(bitmap, len(old.fields))

    def _read_texts(self, rows: Sequence[bytes | None], decoded: Decoded) -> None:
        """Read the tails; a row whose tail is broken becomes absent."""
        decoded.texts = [None] * len(rows)
        for index, row in enumerate(rows):
            if row is None or (decoded.absent is not None and decoded.absent[index]):
                continue
            layout = self._layouts[row[:HEAD_BYTES]]
            texts = layout.read_tail(row)
            if texts is None:
                decoded.faults.append((index, "broken tail"))
                decoded.absent = np.zeros(len(rows), np.bool_) if decoded.absent is None else decoded.absent
                decoded.absent[index] = True
            else:
                missing = len(self.layout.texts) - len(texts)
                decoded.texts[index] = texts + [None] * missing


def event_time_us(row: bytes) -> int | None:
    """Return the event time of a packed row of any schema, or None if it is none."""
    if len(row) < NULLS_AT or row[0] != LAYOUT:
        return None
    time_us: int = _TIME.unpack_from(row, TIME_AT)[0]
    return time_us


def _unpack_nulls(bitmap: npt.NDArray[np.uint8], fields: int) -> Bools:
    return np.unpackbits(bitmap, axis=1, count=fields, bitorder="little").view(np.bool_)


def _fits(layout: RowLayout, row: bytes | None) -> bool:
    size = len(row or b"")
    return size >= layout.width if layout.texts else size == layout.width


def _unknown(head: bytes) -> str:
    return "unknown schema" if len(head) == HEAD_BYTES and head[0] == LAYOUT else "unknown layout"
