"""What the answers of two versions have in common, row by row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from services.gateway.comparing import Incomparable, common_outputs, compare, difference_bin
from services.gateway.target import DType, Output


def numbers(*rows: Any, dtype: Any = np.float32) -> Any:
    """Return rows of a numeric output."""
    return np.array(rows, dtype).reshape(len(rows), -1)


def texts(*rows: bytes) -> Any:
    """Return rows of a BYTES output."""
    made = np.empty((len(rows), 1), object)
    made[:, 0] = rows
    return made


def output(name: str = "y", dtype: DType = DType.FP32, *shape: int) -> Output:
    """Return what a version says of one of its outputs."""
    return Output(name, dtype, shape, math.prod(shape), finite=False)


def test_equal_answers_agree_in_everything() -> None:
    """NaN equals NaN, and infinity itself."""
    rows = numbers(1.5, math.nan, math.inf)
    found = compare([(rows, rows.copy())])
    assert [True] * 3 == found.exact.tolist() == found.tolerant.tolist()
    assert [0.0] * 3 == found.differences.tolist() == found.signed.tolist()


def test_exact_is_to_the_last_bit() -> None:
    """The next number, and zero of the other sign, are not exact; zero of the other sign is no difference either."""
    found = compare([(numbers(1, 0), numbers(np.nextafter(np.float32(1), np.float32(2)), -0.0))])
    assert [False, False] == found.exact.tolist()
    assert [False, True] == found.tolerant.tolist()
    assert found.differences[0] > 0
    assert found.differences[1] == 0


@pytest.mark.parametrize(
    ("absolute", "relative", "agree"),
    [
        (0, 0, [False, False, False]),
        (0.5, 0, [True, False, False]),
        (0, 0.125, [False, True, False]),
        (0.5, 0.125, [True, True, True]),
    ],
)
def test_tolerance_adds_up(absolute: float, relative: float, agree: list[bool]) -> None:
    """A difference may be as large as the absolute tolerance and the relative one of the primary's size together."""
    found = compare([(numbers(1, 8, -8), numbers(1.5, 9, -9.5))], absolute=absolute, relative=relative)
    assert agree == found.tolerant.tolist()
    assert [0.5, 1.0, 1.5] == found.differences.tolist()
    assert [0.5, 1.0, -1.5] == found.signed.tolist()


@pytest.mark.parametrize(("primary", "shadow"), [(math.nan, 1), (1, math.nan), (math.inf, 1), (math.inf, -math.inf)])
def test_no_tolerance_takes_what_is_no_number(primary: float, shadow: float) -> None:
    """NaN or infinity on one side is infinitely far off, and stays out of the sum of signed differences."""
    found = compare([(numbers(primary), numbers(shadow))], absolute=1e9, relative=1e9)
    assert [False] == found.tolerant.tolist()
    assert [math.inf] == found.differences.tolist()
    assert [0.0] == found.signed.tolist()


def test_difference_beyond_the_largest_number_is_infinite() -> None:
    """Doubles may be farther apart than a double can say."""
    found = compare([(numbers(-1e308, dtype=np.float64), numbers(1e308, dtype=np.float64))])
    assert [math.inf] == found.differences.tolist()


def test_top1_of_several_elements() -> None:
    """The place of the largest element counts, not its size."""
    found = compare([(numbers([1, 2, 3], [1, 2, 3]), numbers([0, 0, 9], [9, 2, 3]))])
    assert found.top1 is not None
    assert [True, False] == found.top1.tolist()
    assert [6.0, 8.0] == found.differences.tolist()


def test_no_top1_of_single_numbers_and_texts() -> None:
    """There is no largest among one."""
    assert compare([(numbers(1), numbers(2)), (texts(b"a"), texts(b"b"))]).top1 is None


def test_outputs_count_together() -> None:
    """A row agrees if all its outputs do; its difference is the largest; the first numeric output gives the sign."""
    found = compare(
        [
            (texts(b"a", b"a", b"a"), texts(b"a", b"a", b"b")),
            (numbers(1, 1, 1), numbers(1, 0.5, 1)),
            (numbers([0, 4], [0, 4], [0, 4]), numbers([0, 4], [0, 5], [0, 4])),
        ]
    )
    assert [True, False, False] == found.exact.tolist()
    assert [0.0, 1.0, math.inf] == found.differences.tolist()
    assert [0.0, -0.5, 0.0] == found.signed.tolist()


def test_integers_are_exact_beyond_what_doubles_hold() -> None:
    """Two integers that are the same as doubles are still not the same."""
    found = compare([(numbers(2**53, dtype=np.int64), numbers(2**53 + 1, dtype=np.int64))])
    assert [False] == found.exact.tolist()


def test_numbers_of_two_types_are_compared_as_numbers() -> None:
    """A version that answers doubles agrees with one that answers floats where the values are equal."""
    found = compare([(numbers(0.5, 0.1), numbers(0.5, 0.1, dtype=np.float64))], absolute=1e-6)
    assert [True, False] == found.exact.tolist()
    assert [True, True] == found.tolerant.tolist()


def test_common_outputs_by_name() -> None:
    """Outputs meet by name, wherever they stand; what only one version has is left out."""
    ours = [output("a"), output("b", DType.FP32, 2), output("old")]
    theirs = [output("new"), output("b", DType.FP64, 2), output("a")]
    assert [(0, 2), (1, 1)] == common_outputs(ours, theirs)


@pytest.mark.parametrize(
    "theirs",
    [
        [],
        [output("z")],
        [output("y", DType.FP32, 2)],
        [output("y", DType.BYTES)],
        [output("x"), output("y", DType.BYTES)],
    ],
)
def test_what_cannot_be_compared(theirs: list[Output]) -> None:
    """Nothing in common, another shape, and text beside numbers are refused."""
    with pytest.raises(Incomparable):
        common_outputs([output("x", DType.FP32, 3), output("y")], theirs)


@pytest.mark.parametrize(
    ("difference", "place"),
    [
        (0, 0), (1e-300, 1), (1e-10, 1), (0.5, 39), (1, 41), (1.7, 41), (1.8, 42), (10, 45), (0.1, 37),
        (1e10, 81), (1e300, 81), (math.inf, 81),
    ],
)  # fmt: skip
def test_bins_of_differences(difference: float, place: int) -> None:
    """Four bins to a power of ten, the first and the last for what is beyond."""
    assert place == difference_bin(difference)


def test_bins_hold_what_the_contract_says() -> None:
    """Bin i has the differences from 10^((i-41)/4) on."""
    for place in range(2, 81):
        low = 10 ** ((place - 41) / 4)
        assert place == difference_bin(low * 1.001)
        assert place - 1 == difference_bin(low * 0.999)
