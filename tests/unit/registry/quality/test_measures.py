"""Measures of predictions, from counts and sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator
from numpy.typing import NDArray

from services.registry.definitions import QualityMetric
from services.registry.quality.measures import (
    CalibrationBin,
    ErrorSums,
    Estimate,
    ScoreCounts,
    bins_of,
    estimate,
    mean_estimate,
)

BINARY = [QualityMetric.AUC, QualityMetric.LOG_LOSS, QualityMetric.BRIER]
REGRESSION = [QualityMetric.MAE, QualityMetric.MSE]

ROWS = st.lists(st.tuples(st.integers(0, 999).map(lambda index: (index + 0.5) / 1000), st.booleans()), min_size=1)


@pytest.fixture
def rng() -> Generator:
    """The same numbers each time."""
    return np.random.default_rng(3)


def drawn(rng: Generator, rows: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Calibrated scores and their labels."""
    scores = 1 / (1 + np.exp(1.7 - 1.1 * rng.standard_normal(rows)))
    return scores, rng.random(rows) < scores


@given(ROWS)
def test_measures_are_those_of_the_rows(rows: list[tuple[float, bool]]) -> None:
    """Scores in the middle of their bins lose nothing by being counted."""
    scores, labels = map(np.array, zip(*rows, strict=True))
    counts = ScoreCounts.of(scores, labels)
    assert len(rows) == counts.n
    assert -np.log(np.where(labels, scores, 1 - scores)).mean() == pytest.approx(counts.log_loss)
    assert ((scores - labels) ** 2).mean() == pytest.approx(counts.brier)
    ones, zeros = scores[labels == 1], scores[labels == 0]
    if len(ones) and len(zeros):
        above = (ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros)
        assert above.mean() == pytest.approx(counts.auc)
    else:
        assert counts.auc is None


@given(ROWS, ROWS)
def test_counts_merge_by_adding(one: list[tuple[float, bool]], other: list[tuple[float, bool]]) -> None:
    """Each part may come from another place."""

    def counted(rows: list[tuple[float, bool]]) -> ScoreCounts:
        return ScoreCounts.of(*zip(*rows, strict=True))

    assert counted(one + other) == counted(one) + counted(other)
    assert counted(one) == counted(one) + ScoreCounts.none()


def test_scores_at_the_ends_are_counted() -> None:
    """1 belongs to the last bin, and no score makes a log loss infinite."""
    assert [0, 0, 500, 999, 999] == bins_of([0.0, 0.0009, 0.5, 0.9999, 1.0]).tolist()
    assert 7.6 == pytest.approx(ScoreCounts.of([0.0, 1.0], [1, 0]).log_loss, abs=0.01)


def test_measures_of_nothing_are_absent() -> None:
    """Neither 0 nor an error."""
    counts, sums = ScoreCounts.none(), ErrorSums()
    assert {None} == {counts.auc, counts.log_loss, counts.brier, counts.calibration_error}
    assert {None} == {sums.mae, sums.mse, sums.rmse, sums.bias}
    assert {None} == {estimate(metric, counts) for metric in BINARY} | {estimate(metric, sums) for metric in REGRESSION}


def test_calibration_compares_scores_with_what_came_true() -> None:
    """By tenths of the score; the error weighs the gaps by rows."""
    counts = ScoreCounts.of([0.2505] * 4 + [0.9505], [1, 0, 0, 1, 1])
    low, high = counts.calibration[2], counts.calibration[9]
    assert (0.3, 4, 0.5) == (low.upper, low.rows, low.rate)
    assert 0.2505 == pytest.approx(low.mean_score)
    assert (1.0, 1, 1.0) == (high.upper, high.rows, high.rate)
    assert CalibrationBin(0.1, 0, 0.0, 0.0) == counts.calibration[0]
    assert 10 == len(counts.calibration)
    assert (4 * 0.2495 + 0.0495) / 5 == pytest.approx(counts.calibration_error)


def test_calibrated_scores_have_hardly_a_calibration_error(rng: Generator) -> None:
    """And those that say the opposite a large one."""
    scores, labels = drawn(rng, 20_000)
    calibrated, inverted = ScoreCounts.of(scores, labels), ScoreCounts.of(1 - scores, labels)
    assert calibrated.calibration_error is not None
    assert calibrated.calibration_error < 0.02
    assert inverted.calibration_error is not None
    assert inverted.calibration_error > 0.3


def test_errors_are_summed_up() -> None:
    """Signed, absolute and squared."""
    sums = ErrorSums.of([1.0, -2.0]) + ErrorSums.of([4.0])
    assert ErrorSums(3, 3.0, 7.0, 21.0, 273.0) == sums
    assert (7 / 3, 7.0, math.sqrt(7), 1.0) == (sums.mae, sums.mse, sums.rmse, sums.bias)


@pytest.mark.parametrize("metric", BINARY)
def test_variance_is_that_of_many_samples_of_scores(rng: Generator, metric: QualityMetric) -> None:
    """And, if anything, larger than it."""
    found = [estimate(metric, ScoreCounts.of(*drawn(rng, 300))) for _ in range(1000)]
    _check_variance([each for each in found if each])


@pytest.mark.parametrize("metric", REGRESSION)
def test_variance_is_that_of_many_samples_of_errors(rng: Generator, metric: QualityMetric) -> None:
    """And, if anything, larger than it."""
    found = [estimate(metric, ErrorSums.of(rng.standard_normal(300))) for _ in range(1000)]
    _check_variance([each for each in found if each])


def _check_variance(found: list[Estimate]) -> None:
    assert 1000 == len(found)
    true = float(np.var([each.value for each in found]))
    assert 0.9 * true < np.mean([each.variance for each in found]) < 1.25 * true


def test_no_certainty_by_a_few_equal_rows() -> None:
    """Where all cost the same so far, or the labels do not overlap."""
    apart = estimate(QualityMetric.AUC, ScoreCounts.of([0.9] * 5 + [0.1] * 5, [1] * 5 + [0] * 5))
    equal = estimate(QualityMetric.MAE, ErrorSums.of([3.0] * 5))
    assert apart is not None
    assert math.sqrt(apart.variance) > 0.1
    assert equal is not None
    assert math.sqrt(equal.variance) > 0.5


def test_what_is_not_finite_is_no_estimate() -> None:
    """One prediction of infinity leaves nothing to compare."""
    assert mean_estimate(100, math.inf, math.inf) is None
    assert mean_estimate(100, math.nan, 1.0) is None
    assert mean_estimate(1, 1.0, 1.0) is None


def test_a_measure_of_the_other_kind_is_no_estimate() -> None:
    """An endpoint may change what it records while a release is under way."""
    counts, sums = ScoreCounts.of([0.2, 0.3] * 50, [0, 1] * 50), ErrorSums.of([1.0] * 50)
    assert {None} == {estimate(metric, counts) for metric in REGRESSION} | {estimate(metric, sums) for metric in BINARY}
