"""Training profiles."""

from __future__ import annotations

import numpy as np

from deploy.demo.flight_delay.profiles import training_profile


def test_bins_hold_equal_shares_and_nulls_are_counted_apart() -> None:
    """Nineteen in twenty values known: twenty bins of the known ones."""
    column = np.where(np.arange(2000) % 20 == 0, np.nan, np.arange(2000)).astype(np.float32)
    profile = training_profile({"view:field": column})
    (histogram,) = profile["features"]
    assert 2000 == profile["rows"]
    assert "view:field" == histogram["name"]
    assert [95] * 20 == histogram["counts"]
    assert 19 == len(histogram["edges"])
    assert 0.05 == histogram["null_fraction"]


def test_a_value_that_fills_several_bins_makes_one_and_lies_below_its_edge() -> None:
    """Also for a constant, and for nothing at all."""
    values = {"few": [1, 1, 1, 1, 2, 3], "one": [4, 4], "none": [np.nan]}
    profile = training_profile({name: np.array(column, np.float32) for name, column in values.items()})
    few, one, none = profile["features"]
    assert (1.0, 4) == (few["edges"][0], few["counts"][0])
    assert [([], [2]), ([], [0])] == [(entry["edges"], entry["counts"]) for entry in (one, none)]
    assert len(few["edges"]) + 1 == len(few["counts"])
    assert 6 == sum(few["counts"])
