"""The layout of packed rows: golden bytes, round trips, and rows that are not as they should be."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.features.codec import Values, ViewCodec, event_time_us
from services.features.views import FLOATS, NUMPY, DataType, Entity, Field, KeyColumn, KeyType, View

ENTITY = Entity("carrier", (KeyColumn("carrier", KeyType.STRING),))


def view_of(*fields: Field, schema_id: int = 7, schemas: dict[int, int] | None = None) -> View:
    """Return a view of fields."""
    return View("v", ENTITY, fields, schema_id, schemas=schemas or {schema_id: len(fields)})


def test_golden_bytes() -> None:
    """Layout 1: u8 layout, u32 schema, i64 time, null bits, fixed fields in order, tail; little-endian, no padding."""
    view = view_of(
        Field("rate", DataType.FP32),
        Field("tag", DataType.BYTES),
        Field("flags", DataType.BOOL, length=2),
        Field("count", DataType.INT64),
        Field("words", DataType.BYTES, length=2),
        schema_id=0x01020304,
    )
    columns = {
        0: Values(np.array([[1.5], [9.0]])),
        1: Values(texts=[(b"ab",), (b"x",)]),
        2: Values(np.array([[True, False], [True, True]])),
        3: Values(np.array([[-2], [3]]), nulls=np.array([False, True])),
        4: Values(texts=[(b"", b"c"), (b"", b"")], nulls=np.array([False, True])),
    }
    rows = ViewCodec(view).encode(np.array([0x0102030405, 1]), columns)

    assert "01 04030201 0504030201000000 00 0000c03f 0100 feffffffffffffff 02000000 6162 00000000 01000000 63" == _hex(
        rows[0], 1, 4, 8, 1, 4, 2, 8, 4, 2, 4, 4, 1
    )
    assert "01 04030201 0100000000000000 18 00001041 0101 0000000000000000 01000000 78" == _hex(
        rows[1], 1, 4, 8, 1, 4, 2, 8, 4, 1
    )


def _hex(row: bytes, *sizes: int) -> str:
    assert sum(sizes) == len(row)
    ends = np.cumsum(sizes).tolist()
    return " ".join(row[end - size : end].hex() for size, end in zip(sizes, ends, strict=True))


def test_golden_bytes_of_a_field_left_out() -> None:
    """A field without a column is null in every row, and the ninth field's bit opens a second byte."""
    view = view_of(*(Field(f"f{number}", DataType.UINT8) for number in range(9)))
    rows = ViewCodec(view).encode(np.array([1]), {0: Values(np.array([[255]]))})

    assert "01 07000000 0100000000000000 fe01 ff0000000000000000" == _hex(rows[0], 1, 4, 8, 2, 9)


@st.composite
def tables(draw: st.DrawFn) -> tuple[View, list[list[Any]], list[int]]:
    """Draw a view, rows of its values (None is null) and their times."""
    fields = []
    for number in range(draw(st.integers(1, 10))):
        kind = draw(st.sampled_from(DataType))
        fields.append(Field(f"f{number}", kind, draw(st.sampled_from([0, 1, 3]))))
    rows = draw(st.lists(st.tuples(*(_value(field) for field in fields)).map(list), min_size=1, max_size=6))
    times = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=len(rows), max_size=len(rows)))
    return view_of(*fields), rows, times


def _value(field: Field) -> st.SearchStrategy[Any]:
    return st.none() | st.tuples(*[_element(field.data_type)] * field.elements)


def _element(kind: DataType) -> st.SearchStrategy[Any]:
    if kind is DataType.BYTES:
        return st.binary(max_size=20)
    if kind is DataType.BOOL:
        return st.booleans()
    dtype = NUMPY[kind]
    if kind in FLOATS:
        return st.floats(width=dtype.itemsize * 8, allow_nan=False)  # type: ignore[arg-type]
    limits = np.iinfo(dtype.name)
    return st.integers(int(limits.min), int(limits.max))


def encode(view: View, rows: list[list[Any]], times: list[int]) -> list[bytes]:
    """Pack rows as `tables` draws them."""
    columns = {}
    for index, field in enumerate(view.fields):
        cells = [row[index] for row in rows]
        nulls = np.array([cell is None for cell in cells])
        if field.data_type is DataType.BYTES:
            columns[index] = Values(texts=[cell or (b"",) * field.elements for cell in cells], nulls=nulls)
        else:
            filled = [cell if cell is not None else (1,) * field.elements for cell in cells]
            columns[index] = Values(np.array(filled, NUMPY[field.data_type]), nulls=nulls)
    return ViewCodec(view).encode(np.array(times), columns)


def decode(view: View, stored: list[bytes | None]) -> list[list[Any] | None]:
    """Return rows as `tables` draws them; None for those that are absent."""
    codec = ViewCodec(view)
    decoded = codec.decode(stored, texts=True)
    assert decoded.texts is not None
    rows: list[list[Any] | None] = []
    for row in range(len(stored)):
        if decoded.absent is not None and decoded.absent[row]:
            rows.append(None)
            continue
        cells: list[Any] = []
        for index, field in enumerate(view.fields):
            if field.data_type is DataType.BYTES:
                texts = decoded.texts[row]
                assert texts is not None
                cells.append(texts[codec.layout.texts.index(index)])
            elif decoded.nulls is not None and decoded.nulls[row, index]:
                cells.append(None)
            else:
                cells.append(tuple(decoded.table[f"f{index}"][row].tolist()))
        rows.append(cells)
    return rows


@given(tables())
def test_what_is_encoded_is_decoded(drawn: tuple[View, list[list[Any]], list[int]]) -> None:
    """Every value of every type, null or not, comes back, and so does the event time."""
    view, rows, times = drawn
    stored = encode(view, rows, times)

    assert rows == decode(view, list(stored))
    assert times == [event_time_us(row) for row in stored]
    assert times == ViewCodec(view).decode(stored).table["time"].tolist()


@given(tables(), st.data())
def test_rows_of_an_older_schema_are_read_by_their_own(
    drawn: tuple[View, list[list[Any]], list[int]], data: st.DataObject
) -> None:
    """Among rows of the present schema and gaps, a row of an older one has its fields, and null for the later ones."""
    view, rows, times = drawn
    count = data.draw(st.integers(1, len(view.fields)))
    older = view_of(*view.fields[:count], schema_id=3)
    newer = dataclasses.replace(view, schemas={3: count, 7: len(view.fields)})
    stored = [*encode(older, [row[:count] for row in rows], times), None, *encode(view, rows, times)]
    padded = [row[:count] + [None] * (len(view.fields) - count) for row in rows]

    assert [*padded, None, *rows] == decode(newer, list(stored))


@given(tables(), st.data())
def test_any_bytes_are_a_row_or_absent(drawn: tuple[View, list[list[Any]], list[int]], data: st.DataObject) -> None:
    """Damage never raises, and never touches the other rows of a batch."""
    view, rows, times = drawn
    stored = encode(view, rows, times)
    broken = bytearray(stored[0])
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(broken[: data.draw(st.integers(0, len(broken)))]) + data.draw(st.binary(max_size=3))

    assert rows == decode(view, [damaged, *stored])[1:]


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        pytest.param(lambda row: b"\2" + row[1:], "unknown layout", id="layout of the future"),
        pytest.param(lambda row: b"", "unknown layout", id="empty"),
        pytest.param(lambda row: row[:1] + b"\xff" + row[2:], "unknown schema", id="schema"),
        pytest.param(lambda row: row[:20], "wrong length", id="cut in the fixed part"),
        pytest.param(lambda row: row[:-1], "broken tail", id="cut in the tail"),
        pytest.param(lambda row: row + b"x", "broken tail", id="too long"),
        pytest.param(lambda row: row[:22] + b"\xff\xff\xff\xff" + row[26:], "broken tail", id="length beyond the end"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(damage: Any, cause: str) -> None:
    """A row that cannot be decoded counts as absent, with the cause."""
    view = view_of(Field("n", DataType.INT64), Field("t", DataType.BYTES))
    (row,) = encode(view, [[(1,), (b"text",)]], [5])
    decoded = ViewCodec(view).decode([row, damage(row)], texts=True)

    assert [(1, cause)] == decoded.faults
    assert decoded.absent is not None
    assert [False, True] == decoded.absent.tolist()


def test_rows_of_wrong_lengths_that_add_up_are_not_taken_for_whole_ones() -> None:
    """One byte too many in one row and too few in the next does not shift values."""
    view = view_of(Field("n", DataType.INT64))
    one, two = encode(view, [[(1,)], [(2,)]], [5, 6])

    assert [None, None] == decode(view, [one + b"\1", two[:-1]])
