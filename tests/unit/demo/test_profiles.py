"""Training profiles."""

from __future__ import annotations

import numpy as np

from deploy.demo.flight_delay.profiles import training_profile


def test_bins_hold_equal_shares_and_nulls_are_counted_apart() -> None:
    """Nineteen in twenty values known: twenty bins of the known ones."""
    column = np.where(np.arange(2000) % 20 == 0, np.nan, np.arange(2000)).astype(np.float32)
    profile = training_profile({"view:field": column})["view:field"]
    assert [95] * 20 == profile["counts"]
    assert 0.05 == profile["null_fraction"]


def test_a_value_that_fills_several_bins_makes_one() -> None:
    """Edges rise strictly and the counts add up, also for a constant and for nothing at all."""
    values = {"few": [1, 1, 1, 1, 2, 3], "one": [4, 4], "none": [np.nan]}
    profiles = training_profile({name: np.array(column, np.float32) for name, column in values.items()})
    assert all((np.diff(profile["edges"]) > 0).all() for profile in profiles.values())
    assert {"few": 6, "one": 2, "none": 0} == {name: sum(profile["counts"]) for name, profile in profiles.items()}
