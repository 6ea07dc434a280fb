"""Values become typed tensors, or are refused with the type that they are not."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli.values import DATA_TYPES, fill, parse, shortest, values_of


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("12", "INT8", 12),
        ("-1", "INT64", -1),
        ("18446744073709551615", "UINT64", 2**64 - 1),
        ("0.5", "FP32", 0.5),
        ("7", "FP64", 7.0),
        ("true", "BOOL", True),
        ("FALSE", "BOOL", False),
        ("12", "BYTES", "12"),
        ("", "BYTES", ""),
    ],
)
def test_text_of_each_type(text: str, name: str, value: object) -> None:
    """Text is read by the type that the definition gives, not by how it looks."""
    assert value == parse(text, DATA_TYPES[name])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("abc", "INT64"),
        ("1.5", "INT32"),
        ("128", "INT8"),
        ("-1", "UINT16"),
        ("x", "FP32"),
        ("1e+39", "FP32"),
        ("70000", "FP16"),
        ("yes", "BOOL"),
        ("1", "BOOL"),
    ],
)
def test_text_that_does_not_fit(text: str, name: str) -> None:
    """A value of another type or out of range is refused with both named."""
    with pytest.raises(ValueError, match=rf"{re.escape(text)}.*{name}"):
        parse(text, DATA_TYPES[name])


def test_text_that_is_not_utf8() -> None:
    """Bytes of the command line that are no text are refused as such."""
    with pytest.raises(ValueError, match=r"'N\\udcff' is not UTF-8"):
        parse("N\udcff", DATA_TYPES["BYTES"])


@pytest.mark.parametrize("value", [True, "1", None, [1]])
def test_numbers_are_numbers(value: object) -> None:
    """YAML's true, quoted digits, nothing and lists are no numbers."""
    with pytest.raises(ValueError, match="is no FP32"):
        fill(Tensor(), [value], DATA_TYPES["FP32"])


@pytest.mark.parametrize("name", sorted(DATA_TYPES))
def test_every_type_has_a_field(name: str) -> None:
    """What is filled in for any type comes out as it was."""
    value: object = {"BOOL": True, "BYTES": "text"}.get(name, 3)
    assert [value] == values_of(fill(Tensor(), [value], DATA_TYPES[name]))


def test_bytes_that_are_not_text() -> None:
    """Binary values take the field for blobs, and text beside them goes along."""
    tensor = fill(Tensor(), [b"\xff", "a"], DATA_TYPES["BYTES"])
    assert [b"\xff", b"a"] == list(tensor.blobs)


@given(st.floats(width=32))
def test_shortest_is_the_same_single(value: float) -> None:
    """The shortest number is the same one in single precision, so that 0.1 is shown as 0.1 and nothing is lost."""
    stored = Tensor(floats=[value]).floats[0]
    again = Tensor(floats=[shortest(stored)]).floats[0]
    assert stored == again or (math.isnan(stored) and math.isnan(again))


def test_shortest_of_a_decimal() -> None:
    """A decimal that was written reads as it was written."""
    assert 0.1 == shortest(Tensor(floats=[0.1]).floats[0])
