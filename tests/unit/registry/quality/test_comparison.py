"""Two versions by what came true of their predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.random import Generator
from scipy.stats import binom

from services.registry.definitions import QualityMetric
from services.registry.quality.comparison import compare, lacking
from services.registry.quality.measures import ErrorSums, Outcomes, ScoreCounts, estimate

BINARY = [QualityMetric.AUC, QualityMetric.LOG_LOSS, QualityMetric.BRIER]
ALPHA, PATHS = 0.1, 150


@pytest.fixture
def rng() -> Generator:
    """The same numbers each time."""
    return np.random.default_rng(11)


def scored(rng: Generator, rows: int, noise: float = 0.0, base: float = -1.7) -> ScoreCounts:
    """Rows whose scores are calibrated but for some noise on their logits."""
    logits = base + 1.1 * rng.standard_normal(rows)
    labels = rng.random(rows) < 1 / (1 + np.exp(-logits))
    return ScoreCounts.of(1 / (1 + np.exp(-logits - noise * rng.standard_normal(rows))), labels)


def off(rng: Generator, rows: int, scale: float = 1.0) -> ErrorSums:
    """Rows whose errors are seldom, but then very large."""
    return ErrorSums.of(scale * rng.standard_t(3, rows))


@pytest.mark.parametrize("metric", BINARY)
def test_a_version_that_scores_by_far_worse_is_found(rng: Generator, metric: QualityMetric) -> None:
    """By some hundred rows, and the other way round never."""
    good, bad = scored(rng, 6000), scored(rng, 600, noise=3.0)
    found = compare(metric, [(good, bad)])
    assert found
    assert found.least_worsening(0.001) > 0.01
    reverse = compare(metric, [(bad, good)])
    assert reverse
    assert reverse.least_worsening(0.4) < 0


@pytest.mark.parametrize("metric", [QualityMetric.MAE, QualityMetric.MSE])
def test_a_version_with_larger_errors_is_found(rng: Generator, metric: QualityMetric) -> None:
    """In the unit of the metric."""
    good, bad = ErrorSums.of(rng.standard_normal(5000)), ErrorSums.of(2 * rng.standard_normal(500))
    found = compare(metric, [(good, bad)])
    assert found
    truth = {QualityMetric.MAE: math.sqrt(2 / math.pi), QualityMetric.MSE: 3.0}[metric]
    assert 0.5 * truth < found.least_worsening(0.001) < truth


@pytest.mark.parametrize("metric", BINARY)
@pytest.mark.parametrize("ratio", [9, 1, 1 / 9])
def test_an_equal_version_is_seldom_found_worse_at_any_look(
    rng: Generator, metric: QualityMetric, ratio: float
) -> None:
    """Also where few of the rows are of one version."""

    def wrong() -> bool:
        stable, candidate = ScoreCounts.none(), ScoreCounts.none()
        for _ in range(40):
            stable += scored(rng, round(20 * ratio))
            candidate += scored(rng, 20)
            found = compare(metric, [(stable, candidate)])
            if found and found.least_worsening(ALPHA) > 0:
                return True
        return False

    assert sum(wrong() for _ in range(PATHS)) <= binom.ppf(0.9999, PATHS, ALPHA)


@pytest.mark.parametrize("metric", [QualityMetric.MAE, QualityMetric.MSE])
@pytest.mark.parametrize("rows_of_stable", [180, 20, 2])
def test_equal_errors_are_seldom_found_worse_at_any_look(
    rng: Generator, metric: QualityMetric, rows_of_stable: int
) -> None:
    """Though a few rows may miss the large ones, and so look both good and certain."""

    def wrong() -> bool:
        stable, candidate = ErrorSums(), ErrorSums()
        for _ in range(60):
            stable += off(rng, rows_of_stable)
            candidate += off(rng, 20)
            found = compare(metric, [(stable, candidate)])
            if found and found.least_worsening(ALPHA) > 0:
                return True
        return False

    assert sum(wrong() for _ in range(PATHS)) <= binom.ppf(0.9999, PATHS, ALPHA)


def test_versions_are_compared_within_steps(rng: Generator) -> None:
    """A time when every version errs more, and the candidate has more of the requests, says nothing against it."""
    calm = ErrorSums.of(rng.standard_normal(9500)), ErrorSums.of(rng.standard_normal(500))
    rough = ErrorSums.of(5 * rng.standard_normal(1000)), ErrorSums.of(5 * rng.standard_normal(1000))
    within = compare(QualityMetric.MAE, [calm, rough])
    together = compare(QualityMetric.MAE, [(calm[0] + rough[0], calm[1] + rough[1])])
    assert within
    assert together
    assert together.least_worsening(0.001) > 1
    assert within.least_worsening(0.1) < 0


def test_steps_add_up(rng: Generator) -> None:
    """Two steps say as much as one with the rows of both."""
    parts = [(scored(rng, 2000), scored(rng, 400, noise=1.0)) for _ in range(2)]
    apart = compare(QualityMetric.LOG_LOSS, parts)
    whole = compare(QualityMetric.LOG_LOSS, [(parts[0][0] + parts[1][0], parts[0][1] + parts[1][1])])
    assert apart
    assert whole
    assert whole.information == pytest.approx(apart.information, rel=0.05)
    assert whole.least_worsening(0.01) == pytest.approx(apart.least_worsening(0.01), abs=0.02)


def test_bounds_lie_around_the_measure_and_within_its_range(rng: Generator) -> None:
    """An AUC is never above 1, an error never below 0."""
    few = scored(rng, 120)
    found = compare(QualityMetric.AUC, [(few, scored(rng, 5000))])
    assert found
    own = estimate(QualityMetric.AUC, few)
    assert own
    assert own.value == pytest.approx(found.stable.value)
    wide, narrow = found.bounds(found.stable, 1e-6), found.bounds(found.candidate, 0.01)
    assert (True, 1.0) == (wide.low < 0.5, wide.high)
    assert narrow.low < found.candidate.value < narrow.high < narrow.low + 0.15


@pytest.mark.parametrize(
    ("outcomes", "missing"),
    [
        (None, ["30 more outcomes"]),
        (ErrorSums.of([1.0] * 12), ["18 more outcomes"]),
        (ScoreCounts.of([0.5] * 20, [0] * 20), ["10 more outcomes", "10 more of label 1"]),
        (ScoreCounts.of([0.5] * 50, [1] * 47 + [0] * 3), ["7 more of label 0"]),
        (ScoreCounts.of([0.5] * 50, [1] * 25 + [0] * 25), []),
    ],
)
def test_too_few_outcomes_tell_nothing(outcomes: Outcomes | None, missing: list[str]) -> None:
    """And it is said how many more it takes."""
    metric = QualityMetric.MAE if isinstance(outcomes, ErrorSums) else QualityMetric.BRIER
    assert missing == lacking(metric, outcomes)
    plenty = ErrorSums.of([1.0] * 99) if isinstance(outcomes, ErrorSums) else ScoreCounts.of([0.5] * 99, [0, 1, 0] * 33)
    for pair in ((plenty, outcomes), (outcomes, plenty)):
        assert bool(missing) == (compare(metric, [pair]) is None)


def test_errors_without_a_finite_measure_tell_nothing() -> None:
    """One infinite prediction: nothing to compare by, which a release then waits for."""
    broken, whole = ErrorSums.of([1.0] * 40 + [math.inf]), ErrorSums.of([1.0] * 40)
    assert ["outcomes that have a finite mae"] == lacking(QualityMetric.MAE, broken)
    assert compare(QualityMetric.MAE, [(whole, broken)]) is None


def test_versions_that_never_err_do_not_differ() -> None:
    """Nor is their certainty divided by."""
    exact = ErrorSums.of([0.0] * 50)
    assert compare(QualityMetric.MAE, [(exact, exact)]) is None
