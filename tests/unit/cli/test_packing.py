"""Packed tensors are unpacked as the feature service packs them."""

from __future__ import annotations

import struct

import pytest

from services.cli.packing import unpack
from services.cli.values import DATA_TYPES


@pytest.mark.parametrize(
    ("name", "form", "values"),
    [
        ("FP32", "<2f", [0.1, -2.0]),
        ("INT64", "<2q", [1, -(2**62)]),
        ("FP16", "<2e", [0.5, 2.0]),
        ("BOOL", "<2?", [True, False]),
    ],
)
def test_fixed_width(name: str, form: str, values: list[object]) -> None:
    """Elements of fixed width follow each other, little-endian."""
    assert values == unpack(struct.pack(form, *values), DATA_TYPES[name])


def test_bytes() -> None:
    """BYTES elements stand behind their length; what is no text is shown escaped."""
    packed = b"".join(struct.pack("<I", len(text)) + text for text in (b"", "é".encode(), b"\xff"))
    assert ["", "é", "\\xff"] == unpack(packed, DATA_TYPES["BYTES"])
