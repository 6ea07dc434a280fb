"""Requests parted by a hash that never changes."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.splitting import BUCKETS, Split, bucket, buckets_of, sampled

VALUES = [f"value-{number}" for number in range(40_000)]


@pytest.mark.parametrize(
    ("salt", "value", "falls"),
    [
        ("flight-delay", "UA1", 1331),
        ("flight-delay/7", "UA1", 812),
        ("a", "", 5537),
        ("shadow:x", "ü€", 1322),
        ("outcome", "0" * 32, 6308),
    ],
)
def test_golden(salt: str, value: str, falls: int) -> None:
    """Where a value falls is a promise: were it another, every caller's version would change with an upgrade."""
    assert falls == bucket(salt, value)


def test_uniform() -> None:
    """Values fall evenly: the chi-square of 100 groups of buckets lies within five standard deviations."""
    counts = Counter(bucket("m", value) // 100 for value in VALUES)
    expected = len(VALUES) / 100
    chi_square = sum((counts[group] - expected) ** 2 / expected for group in range(100))
    assert abs(chi_square - 99) < 5 * math.sqrt(2 * 99)


def test_salts_are_independent() -> None:
    """Who is in the first tenth of one salt is there by a tenth of another."""
    both = sum(bucket("m/1", value) < 1000 and bucket("m/2", value) < 1000 for value in VALUES)
    expected = len(VALUES) / 100
    assert abs(both - expected) < 5 * math.sqrt(expected)


def by_value(split: Split[str]) -> dict[str, str]:
    """Return what each value chooses."""
    return {value: split.choose(value) for value in VALUES}


@pytest.mark.parametrize(("before", "after"), [(5, 10), (10, 5), (0.01, 0.02), (50, 99.99)])
def test_growing_moves_only_what_is_added(before: float, after: float) -> None:
    """From 5 to 10 percent, all of the 5 stay; back again, only the added leave."""
    low, high = sorted((before, after))
    few, many = (by_value(Split("m/7", [("new", p), ("old", 100 - p)])) for p in (low, high))
    moved = [value for value in VALUES if few[value] != many[value]]
    assert all(few[value] == "old" and many[value] == "new" for value in moved)
    assert abs(len(moved) / len(VALUES) - (high - low) / 100) < 0.01


def test_shares_in_their_order() -> None:
    """Each choice takes its share of the buckets, from 0 on in the order given."""
    split = Split("m", [("a", 20.0), ("b", 30.0), ("c", 50.0)])
    places = {"a": range(2000), "b": range(2000, 5000), "c": range(5000, 10_000)}
    assert all(bucket("m", value) in places[choice] for value, choice in by_value(split).items())
    assert [("a", 20.0), ("b", 30.0), ("c", 50.0)] == split.shares()


def test_one_choice() -> None:
    """A single choice takes everything, and says so."""
    split = Split("m", [("a", 100.0)])
    assert ("a", "a", [("a", 100.0)]) == (split.only, split.choose("x"), split.shares())
    assert Split("m", [("a", 50.0), ("b", 50.0)]).only is None


def test_last_takes_the_rest() -> None:
    """Where a share is missing nobody is left without a choice."""
    assert {"a", "b"} == set(by_value(Split("m", [("a", 1.0), ("b", 1.0)])).values())


@given(st.integers(0, BUCKETS))
def test_steps_of_a_hundredth(hundredths: int) -> None:
    """Every share in steps of 0.01 percent has exactly as many buckets, in spite of binary fractions."""
    assert hundredths == buckets_of(hundredths / 100)


def test_sampling_grows() -> None:
    """Who is sampled stays so when the share grows; 0 takes nobody and 100 all."""
    taken = [{value for value in VALUES[:2000] if sampled("outcome", value, percent)} for percent in (0, 5, 10, 100)]
    assert taken[0] == set()
    assert taken[1] < taken[2] < taken[3] == set(VALUES[:2000])
