"""How good predictions were, from counts and sums that merge by adding, with the variance of each measure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from services.registry.definitions import QualityMetric

BINS = 1000
CALIBRATION_BINS = 10

# Middle of each bin: what a score counts as.
_SCORES = (np.arange(BINS) + 0.5) / BINS
# What a row costs, by label and bin.
_LOG_LOSSES = -np.log(np.stack([1 - _SCORES, _SCORES]))
_SQUARES = np.stack([_SCORES, 1 - _SCORES]) ** 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure of `n` outcomes and the variance of that estimate (its standard error squared)."""

    value: float
    variance: float
    n: int


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Predictions with scores up to `upper`; the means are 0 where there are no rows."""

    upper: float
    rows: int
    mean_score: float
    rate: float


@dataclass(frozen=True, slots=True, eq=False)
class ScoreCounts:
    """Outcomes of a BINARY endpoint: how many, by label (0, 1) and bin of the score: shape (2, 1000), int64.

    A score counts as the middle of its bin, so that a log loss is at most 7.6 nats.
    """

    counts: NDArray[np.int64]

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike) -> ScoreCounts:
        """Count rows: scores from 0 to 1, labels 0 or 1."""
        counts = np.zeros((2, BINS), np.int64)
        np.add.at(counts, (np.asarray(labels, np.intp), bins_of(scores)), 1)
        return cls(counts)

    @classmethod
    def none(cls) -> ScoreCounts:
        """No outcomes yet."""
        return cls(np.zeros((2, BINS), np.int64))

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        return ScoreCounts(self.counts + other.counts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScoreCounts) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]  # holds an array

    @property
    def n(self) -> int:
        """Rows with an outcome."""
        return int(self.counts.sum())

    @property
    def of_label(self) -> tuple[int, int]:
        """Rows of label 0, and of label 1."""
        negatives, positives = self.counts.sum(1).tolist()
        return negatives, positives

    @property
    def auc(self) -> float | None:
        """Area under the ROC curve; None while a label is missing."""
        negatives, positives = self.of_label
        if not negatives or not positives:
            return None
        return float(self.counts[1] @ _shares_below(self.counts[0])) / positives

    @property
    def log_loss(self) -> float | None:
        """Mean log loss in nats; None without rows."""
        return self._mean(_LOG_LOSSES)

    @property
    def brier(self) -> float | None:
        """Mean squared difference of score and label; None without rows."""
        return self._mean(_SQUARES)

    @property
    def calibration(self) -> tuple[CalibrationBin, ...]:
        """Ten bins of equal width over the scores."""
        by_bin = self.counts.reshape(2, CALIBRATION_BINS, -1)
        rows, ones = by_bin.sum((0, 2)), by_bin[1].sum(1)
        scores = (by_bin.sum(0) * _SCORES.reshape(CALIBRATION_BINS, -1)).sum(1)
        return tuple(
            CalibrationBin((index + 1) / CALIBRATION_BINS, int(n), float(score / max(n, 1)), float(one / max(n, 1)))
            for index, (n, score, one) in enumerate(zip(rows, scores, ones, strict=True))
        )

    @property
    def calibration_error(self) -> float | None:
        """Mean gap of score and share of label 1 over the ten bins, weighted by rows; None without rows."""
        if not self.n:
            return None
        return sum(each.rows * abs(each.mean_score - each.rate) for each in self.calibration) / self.n

    def auc_estimate(self) -> Estimate | None:
        """AUC with the variance of its placement values (DeLong et al., 1988); None below two rows of a label.

        A label's placements get one more, half the range off: without overlap of the labels their variance would be 0.
        """
        n, m = self.of_label
        if m < 2 or n < 2:
            return None
        negatives, positives = self.counts.astype(np.float64)
        of_positives, of_negatives = _shares_below(negatives), 1 - _shares_below(positives)
        auc = float(positives @ of_positives) / m
        variance = (float(positives @ (of_positives - auc) ** 2) + 0.25) / (m * (m - 1))
        variance += (float(negatives @ (of_negatives - auc) ** 2) + 0.25) / (n * (n - 1))
        return Estimate(auc, variance, m + n)

    def log_loss_estimate(self) -> Estimate | None:
        """Log loss; None below two rows."""
        return self._mean_estimate(_LOG_LOSSES)

    def brier_estimate(self) -> Estimate | None:
        """Brier score; None below two rows."""
        return self._mean_estimate(_SQUARES)

    def _mean(self, costs: NDArray[np.float64]) -> float | None:
        return float((self.counts * costs).sum()) / self.n if self.n else None

    def _mean_estimate(self, costs: NDArray[np.float64]) -> Estimate | None:
        total, squares = float((self.counts * costs).sum()), float((self.counts * costs**2).sum())
        return mean_estimate(self.n, total, squares)


@dataclass(frozen=True, slots=True)
class ErrorSums:
    """Outcomes of a REGRESSION endpoint: rows, and sums of the errors (prediction less label) and their powers."""

    n: int = 0
    total: float = 0.0
    absolute: float = 0.0
    squared: float = 0.0
    fourth: float = 0.0

    @classmethod
    def of(cls, errors: ArrayLike) -> ErrorSums:
        """Sum up the errors of rows."""
        found = np.asarray(errors, np.float64)
        squares = found**2
        return cls(
            found.size, float(found.sum()), float(np.abs(found).sum()), float(squares.sum()), float((squares**2).sum())
        )

    def __add__(self, other: ErrorSums) -> ErrorSums:
        return ErrorSums(
            self.n + other.n,
            self.total + other.total,
            self.absolute + other.absolute,
            self.squared + other.squared,
            self.fourth + other.fourth,
        )

    @property
    def mae(self) -> float | None:
        """Mean absolute error; None without rows."""
        return self.absolute / self.n if self.n else None

    @property
    def mse(self) -> float | None:
        """Mean squared error; None without rows."""
        return self.squared / self.n if self.n else None

    @property
    def rmse(self) -> float | None:
        """Root of the mean squared error; None without rows."""
        return math.sqrt(self.squared / self.n) if self.n else None

    @property
    def bias(self) -> float | None:
        """Mean error; None without rows."""
        return self.total / self.n if self.n else None

    def mae_estimate(self) -> Estimate | None:
        """Mean absolute error; None below two rows."""
        return mean_estimate(self.n, self.absolute, self.squared)

    def mse_estimate(self) -> Estimate | None:
        """Mean squared error; None below two rows."""
        return mean_estimate(self.n, self.squared, self.fourth)


Outcomes = ScoreCounts | ErrorSums


def estimate(metric: QualityMetric, outcomes: Outcomes | None) -> Estimate | None:
    """The measure with its variance; None where there are too few outcomes, or they are of the other kind."""
    match outcomes, metric:
        case ScoreCounts(), QualityMetric.AUC:
            return outcomes.auc_estimate()
        case ScoreCounts(), QualityMetric.LOG_LOSS:
            return outcomes.log_loss_estimate()
        case ScoreCounts(), QualityMetric.BRIER:
            return outcomes.brier_estimate()
        case ErrorSums(), QualityMetric.MAE:
            return outcomes.mae_estimate()
        case ErrorSums(), QualityMetric.MSE:
            return outcomes.mse_estimate()
    return None


def _shares_below(counts: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """For each bin the share of the rows below it, those within it counted half."""
    up_to = np.cumsum(counts, dtype=np.float64)
    shares: NDArray[np.float64] = (up_to - counts / 2) / up_to[-1]
    return shares


def bins_of(scores: ArrayLike) -> NDArray[np.intp]:
    """Bin of each score from 0 to 1."""
    return np.minimum((np.asarray(scores, np.float64) * BINS).astype(np.intp), BINS - 1)


def mean_estimate(n: int, total: float, squares: float) -> Estimate | None:
    """Mean of `n` costs of 0 or more from their sum and sum of squares; None below two, or where they are not finite.

    One more cost of 0 is taken into the variance, lest equal costs so far pass for certainty.
    """
    if n < 2 or not math.isfinite(total) or not math.isfinite(squares):
        return None
    mean = total / n
    deviations = max(squares - total * mean, 0.0) + mean**2
    return Estimate(mean, deviations / (n * (n - 1)), n)
