from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.datatypes import BYTES, DTYPES, blank, pack, unpack

NUMERIC = sorted(DTYPES.keys() - {BYTES, "BOOL"})


@given(st.lists(st.binary(max_size=20), max_size=12))
def test_byte_strings_survive_packing(values: list[bytes]) -> None:
    """What is packed comes back, whatever the bytes are."""
    array = np.empty(len(values), object)
    array[:] = values
    assert values == unpack(pack(array), BYTES, (len(values),)).tolist()


@pytest.mark.parametrize("datatype", NUMERIC)
def test_numbers_survive_packing(datatype: str) -> None:
    """Every numeric type comes back with its type and shape."""
    array = np.arange(6).astype(DTYPES[datatype]).reshape(2, 3)
    unpacked = unpack(pack(array), datatype, (2, 3))
    assert array.dtype == unpacked.dtype
    assert array.tolist() == unpacked.tolist()


def test_any_byte_but_zero_is_true() -> None:
    """A byte that is neither 0 nor 1 cannot make a bool that is neither."""
    assert [False, True, True] == unpack(b"\x00\x01\x07", "BOOL", (3,)).tolist()
    assert b"\x00\x01\x01" == pack(unpack(b"\x00\x01\x07", "BOOL", (3,)))


def test_values_are_packed_row_major_whatever_their_layout() -> None:
    """A transposed array is written row by row too."""
    array = np.arange(6, dtype=np.int8).reshape(3, 2).T
    assert bytes([0, 2, 4, 1, 3, 5]) == pack(array)


@pytest.mark.parametrize(
    ("raw", "datatype", "shape"),
    [
        (b"\x00" * 7, "FP32", (2,)),
        (b"\x00" * 12, "FP32", (2,)),
        (b"\x00" * 3, "BOOL", (2,)),
        (b"\x01\x00", BYTES, (1,)),
        (b"\x05\x00\x00\x00ab", BYTES, (1,)),
        (b"\x01\x00\x00\x00a", BYTES, (2,)),
    ],
)
def test_bytes_that_do_not_fill_the_shape_are_refused(raw: bytes, datatype: str, shape: tuple[int, ...]) -> None:
    """Too few, too many, or cut in a length or value: ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        unpack(raw, datatype, shape)


def test_blanks_are_zeros_and_empty_strings() -> None:
    """A row that was not computed has a value that cannot be taken for another's."""
    assert [[b""], [b""]] == blank(BYTES, (2, 1)).tolist()
    assert [0.0, 0.0] == blank("FP16", (2,)).tolist()
