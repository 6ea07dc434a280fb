"""What versions have shown."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.registry.evidence import bins_between, edge_us, p99_us


def test_the_p99_lies_in_the_bin_that_99_percent_reach() -> None:
    """At its middle, on the logarithmic scale."""
    rng = np.random.default_rng(1)
    times = rng.lognormal(math.log(5000), 0.5, 200_000)
    bins, counts = np.unique(np.floor(8 * np.log2(times)).astype(int), return_counts=True)
    found = p99_us(dict(zip(bins.tolist(), counts.tolist(), strict=True)))
    assert found == pytest.approx(np.percentile(times, 99), rel=2 ** (1 / 16) - 1 + 0.01)


def test_the_p99_of_few_requests_is_the_slowest() -> None:
    """And of none there is none."""
    assert 0 == p99_us({})
    assert 0 == p99_us({8: 0})
    assert round(2 ** (80.5 / 8)) == p99_us({8: 10, 80: 1})
    assert round(2 ** (8.5 / 8)) == p99_us({8: 1000, 80: 1})


def test_edges_ascend_by_eighths_of_an_octave() -> None:
    """From nothing to infinity, where bounds are open."""
    assert (1.0, 2.0, 1024.0) == (edge_us(0), edge_us(8), edge_us(80))
    assert (0.0, math.inf) == (edge_us(-math.inf), edge_us(math.inf))
    assert (0.0, 8.0) == (bins_between(1), bins_between(2))
