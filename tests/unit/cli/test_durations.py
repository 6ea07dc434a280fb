"""Lengths of time are read from text and written so that they read back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.durations import exact, parse_ms, parse_us, rounded


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("7d", 604_800_000_000), ("1s", 1_000_000), ("250ms", 250_000), ("1.5h", 5_400_000_000), ("3us", 3), ("0s", 0)],
)
def test_units(text: str, microseconds: int) -> None:
    """Each unit from microseconds to days is known, and fractions of one."""
    assert microseconds == parse_us(text)


@pytest.mark.parametrize("text", ["", "7", "d", "-1s", "1 week", "1s2", "\uff11s", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    """Anything else is refused with a reason that shows it and what would do."""
    with pytest.raises(ValueError, match="is no duration: a number and us, ms, s, m, h or d"):
        parse_us(text)


@pytest.mark.parametrize("text", ["36501d", "99999999999999d", "9" * 400 + "us"])
def test_longer_than_anybody_means(text: str) -> None:
    """No length of time overflows a number that services take."""
    with pytest.raises(ValueError, match="is longer than 36500d"):
        parse_us(text)


def test_finer_than_a_millisecond() -> None:
    """Definitions count milliseconds, so that less is refused rather than cut."""
    with pytest.raises(ValueError, match="finer than a millisecond"):
        parse_ms("1500us")


@given(st.integers(0, 10**12))
def test_exact_reads_back(milliseconds: int) -> None:
    """What is written is read as the same length."""
    assert milliseconds == parse_ms(exact(milliseconds))


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "0 us"),
        (999, "999 us"),
        (1_234, "1.23 ms"),
        (90e6, "90 s"),
        (7.3e9, "2.03 h"),
        (1e14, "1157 d"),
        (-5e6, "-5 s"),
    ],
)
def test_rounded(microseconds: float, text: str) -> None:
    """People read three digits in a unit that there are two of; a negative age stays negative."""
    assert text == rounded(microseconds)
