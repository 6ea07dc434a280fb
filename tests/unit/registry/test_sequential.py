"""Bounds and tests that hold at every look."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator
from scipy.special import betaln
from scipy.stats import binom, norm

from services.registry.sequential import (
    Trials,
    one_sided_errors,
    quantile_bounds,
    quantile_exceeds,
    share_bounds,
    share_exceeds,
    two_sided_errors,
)

ALPHA = 0.1
PATHS = 400
LOOKS = [*range(5, 100, 5), *range(100, 1000, 50), *range(1000, 3001, 250)]


@pytest.fixture
def rng() -> Generator:
    """The same numbers each time."""
    return np.random.default_rng(7)


def most_by_chance(alpha: float = ALPHA) -> int:
    """Of all paths so many may be wrong where each is with probability alpha: more would be seen once in 10,000 runs."""
    return int(binom.ppf(0.9999, PATHS, alpha))


def totals(draws: Sequence[bool] | np.ndarray) -> list[Trials]:
    """What is known at each look."""
    so_far = np.cumsum(draws)
    return [Trials(int(so_far[n - 1]), n) for n in LOOKS if n <= len(draws)]


@pytest.mark.parametrize("p", [0.002, 0.05, 0.5])
def test_bounds_of_a_share_hold_at_every_look_at_once(rng: Generator, p: float) -> None:
    """The probability lies within all of them, but for a share alpha of the paths."""
    missed = sum(
        not all(low <= p <= high for low, high in (share_bounds(each, ALPHA) for each in totals(rng.random(3000) < p)))
        for _ in range(PATHS)
    )
    assert missed <= most_by_chance()


def test_bounds_of_a_share_are_where_the_martingale_crosses() -> None:
    """As computed from scipy's functions, for the Beta(1/2, 10) prior."""
    for end in share_bounds(Trials(30, 1000), 0.01):
        martingale = betaln(30.5, 980) - betaln(0.5, 10) - 30 * math.log(end) - 970 * math.log1p(-end)
        assert math.log(100) == pytest.approx(martingale, abs=1e-4)


def test_bounds_of_a_share_without_a_success_or_a_failure_end_at_0_or_1() -> None:
    """And never at what was seen itself on the other side."""
    assert 0.0 == share_bounds(Trials(0, 100), ALPHA).low
    assert 0.0 < share_bounds(Trials(0, 100), ALPHA).high < 0.1
    assert 1.0 == share_bounds(Trials(100, 100), ALPHA).high
    assert 0.5 < share_bounds(Trials(100, 100), ALPHA).low < 1.0


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_bounds_of_a_share_lie_around_what_was_seen(total: int, more: int, data: st.DataObject) -> None:
    """And closer to it with ten times as much of the same."""
    successes = data.draw(st.integers(0, total))
    low, high = share_bounds(Trials(successes, total), ALPHA)
    assert low <= successes / total <= high
    closer = share_bounds(Trials(10 * successes, 10 * total), ALPHA)
    assert closer.high - closer.low < high - low


@pytest.mark.parametrize(("p", "margin", "ratio"), [(0.01, 0.0, 19), (0.01, 0.02, 1), (0.3, 0.0, 1)])
def test_a_share_at_the_margin_exceeds_it_as_seldom_as_alpha(
    rng: Generator, p: float, margin: float, ratio: int
) -> None:
    """At any of the looks, whatever share of the trials the candidate has."""
    wrong = 0
    for _ in range(PATHS):
        stable = np.cumsum(rng.random(3000 * ratio) < p)
        candidate = totals(rng.random(3000) < p + margin)
        wrong += any(
            share_exceeds(Trials(int(stable[each.total * ratio - 1]), each.total * ratio), each, margin, ALPHA)
            for each in candidate
        )
    assert wrong <= most_by_chance()


@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from([0.0, 0.02, 0.2]), st.data())
def test_a_share_exceeds_only_if_every_pair_within_the_margin_is_refuted(
    stable_total: int, candidate_total: int, margin: float, data: st.DataObject
) -> None:
    """Compared with the least product of likelihoods on a fine grid."""
    stable = Trials(data.draw(st.integers(0, stable_total)), stable_total)
    candidate = Trials(data.draw(st.integers(0, candidate_total)), candidate_total)
    grid = np.linspace(1e-9, 1 - margin - 1e-9, 20_001)
    product = _martingale(stable, grid) + _martingale(candidate, grid + margin)
    least = product.min() if candidate.share - margin > stable.share else -math.inf
    if abs(least - math.log(1 / ALPHA)) > 0.01:
        assert share_exceeds(stable, candidate, margin, ALPHA) == (least > math.log(1 / ALPHA))


def _martingale(trials: Trials, p: np.ndarray) -> np.ndarray:
    successes, failures = trials.successes, trials.total - trials.successes
    mixture = betaln(0.5 + successes, 10 + failures) - betaln(0.5, 10)
    return np.asarray(mixture - successes * np.log(p) - failures * np.log1p(-p))


def test_a_share_that_is_much_larger_exceeds_soon() -> None:
    """9 of 10 against 1 of 100 tells enough, 2 of 10 does not; nor does the better of two."""
    assert share_exceeds(Trials(1, 100), Trials(9, 10), 0.01, 0.001)
    assert not share_exceeds(Trials(1, 100), Trials(2, 10), 0.01, 0.001)
    assert not share_exceeds(Trials(90, 100), Trials(1, 100), 0.0, 0.5)


def bins(values: Iterable[float]) -> Counter[int]:
    """Count values by bins of 0.1."""
    return Counter(math.floor(10 * value) for value in values)


def test_bounds_of_a_quantile_hold_at_every_look_at_once(rng: Generator) -> None:
    """Both ends, each but for a share alpha of the paths."""
    true = 10 * float(norm.ppf(0.9))
    low_missed = high_missed = 0
    for _ in range(PATHS):
        values = rng.standard_normal(1000)
        bounds = [quantile_bounds(bins(values[:n]), 0.1, ALPHA) for n in LOOKS if n <= 1000]
        low_missed += any(low > true for low, _ in bounds)
        high_missed += any(high < true for _, high in bounds)
    assert max(low_missed, high_missed) <= most_by_chance()


def test_bounds_of_a_quantile_are_edges_next_to_it_in_the_end(rng: Generator) -> None:
    """And none at all from few values."""
    true = 10 * float(norm.ppf(0.99))
    low, high = quantile_bounds(bins(rng.standard_normal(300_000)), 0.01, 0.01)
    assert true - 2 < low <= true <= high < true + 2
    assert (-math.inf, math.inf) == quantile_bounds({3: 1, 4: 1}, 0.5, 0.01)


@pytest.mark.parametrize(("ratio", "shift"), [(19, 0.0), (1, 0.0), (1, 4.68)])
def test_a_quantile_at_the_limit_exceeds_it_as_seldom_as_alpha(rng: Generator, ratio: int, shift: float) -> None:
    """At any of the looks, whatever share of the values the candidate has, between edges too."""
    wrong = 0
    for _ in range(PATHS // 4):
        stable = np.floor(10 * rng.standard_normal(1000 * ratio)).astype(int)
        candidate = np.floor(10 * rng.standard_normal(1000) + shift).astype(int)
        wrong += any(
            quantile_exceeds(_count(stable[: n * ratio]), _count(candidate[:n]), 0.1, shift, ALPHA)
            for n in range(50, 1001, 50)
        )
    assert wrong <= int(binom.ppf(0.9999, PATHS // 4, ALPHA))


def _count(values: np.ndarray) -> dict[int, int]:
    return dict(zip(*(each.tolist() for each in np.unique(values, return_counts=True)), strict=True))


def test_a_quantile_far_beyond_exceeds() -> None:
    """By more bins than the limit, and enough values."""
    stable, candidate = {0: 1800, 1: 180, 2: 20}, {12: 1800, 13: 180, 14: 20}
    assert quantile_exceeds(stable, candidate, 0.01, 8.0, 0.001)
    assert not quantile_exceeds(stable, candidate, 0.01, 14.0, 0.001)
    assert not quantile_exceeds(stable, {12: 1}, 0.01, 8.0, 0.001)
    assert not quantile_exceeds({0: 180, 1: 18, 2: 2}, candidate, 0.01, 8.0, 0.001)
    assert not quantile_exceeds(candidate, stable, 0.01, 0.0, 0.5)


@pytest.mark.parametrize("sided", [1, 2])
def test_bounds_of_a_mean_hold_at_every_look_at_once(rng: Generator, sided: int) -> None:
    """The mean of values that are skewed lies within all of them from 30 values on, but for a share alpha."""
    errors, missed = {1: one_sided_errors, 2: two_sided_errors}[sided], 0
    looks = np.array([n for n in LOOKS if n >= 30])
    radii = np.array([errors(n, ALPHA) for n in looks])
    for _ in range(PATHS):
        values = rng.exponential(1.0, 3000)
        means = np.cumsum(values)[looks - 1] / looks
        deviations = np.sqrt((np.cumsum(values**2)[looks - 1] / looks - means**2) / (looks - 1))
        off = (means - 1) / deviations
        missed += bool(np.any((off if sided == 1 else np.abs(off)) > radii))
    assert missed <= most_by_chance()


def test_bounds_of_a_mean_ask_for_somewhat_more_than_a_single_look() -> None:
    """Least at the size that they are tuned for; one side asks for less than two."""
    for alpha in (0.1, 0.01, 0.001):
        assert norm.ppf(1 - alpha / 2) < two_sided_errors(400, alpha) < 1.8 * norm.ppf(1 - alpha / 2)
        assert norm.ppf(1 - alpha) < one_sided_errors(400, alpha) < two_sided_errors(400, alpha)
        assert two_sided_errors(400, alpha) < min(two_sided_errors(20, alpha), two_sided_errors(20_000, alpha))
