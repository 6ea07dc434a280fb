"""Compares two versions by what came true of their predictions, over all steps of a release together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from services.registry.definitions import QualityMetric
from services.registry.quality.measures import Estimate, Outcomes, ScoreCounts, estimate
from services.registry.sequential import Bounds, one_sided_errors, two_sided_errors

# Below these the variance of a measure is too uncertain to tell by.
MIN_OUTCOMES = 30
MIN_OF_A_LABEL = 10

# Measures that are never above 1.
_SHARES = {QualityMetric.AUC, QualityMetric.BRIER}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both versions' measure, and the information about their difference: in outcomes as those of the candidate."""

    metric: QualityMetric
    stable: Estimate
    candidate: Estimate
    information: float

    def least_worsening(self, alpha: float) -> float:
        """Lower bound of how much worse the candidate is, in the metric's unit; ever wrong with probability alpha at most.

        Asymptotic: over information an estimate moves as a mean does over outcomes, also one of a difference that
        several steps make up. Jennison, Turnbull: Group-sequential analysis incorporating covariate information, 1997.
        """
        worsening = self.candidate.value - self.stable.value
        if self.metric is QualityMetric.AUC:
            worsening = -worsening
        error = math.sqrt(self.stable.variance + self.candidate.variance)
        return worsening - one_sided_errors(self.information, alpha) * error

    def bounds(self, of: Estimate, alpha: float) -> Bounds:
        """Bounds of one version's measure; they ever fail with probability alpha at most."""
        radius = two_sided_errors(of.n, alpha) * math.sqrt(of.variance)
        most = 1.0 if self.metric in _SHARES else math.inf
        return Bounds(max(of.value - radius, 0.0), min(of.value + radius, most))


def lacking(metric: QualityMetric, outcomes: Outcomes | None) -> list[str]:
    """What the outcomes of a version lack before anything can be told by them."""
    missing = _more(outcomes)
    if not missing and not estimate(metric, outcomes):
        return [f"outcomes that have a finite {metric.lower()}"]
    return missing


def compare(metric: QualityMetric, steps: Iterable[tuple[Outcomes | None, Outcomes | None]]) -> Comparison | None:
    """Compare stable version and candidate; None if no step tells anything.

    Versions are compared within steps, as what is asked may change with time just as the candidate's share does. Steps
    are weighted by how well they tell the difference, by the inverse of its variance.
    """
    pairs = [pair for step in steps if (pair := _pair(metric, *step))]
    if not pairs:
        return None
    weights = [1 / (stable.variance + candidate.variance) for stable, candidate in pairs]
    information = sum(
        candidate.n * candidate.variance * weight for (_, candidate), weight in zip(pairs, weights, strict=True)
    )
    stables, candidates = zip(*pairs, strict=True)
    return Comparison(metric, _pooled(stables, weights), _pooled(candidates, weights), information)


def _pair(
    metric: QualityMetric, stable: Outcomes | None, candidate: Outcomes | None
) -> tuple[Estimate, Estimate] | None:
    if _more(stable) or _more(candidate):
        return None
    before, after = estimate(metric, stable), estimate(metric, candidate)
    if not before or not after:
        return None
    total = before.n + after.n
    # Of one outcome, in both versions together. Where costs are skewed a few outcomes of one may miss the costly ones and
    # look good and certain at once; so no version's outcomes count as more certain than both together.
    variance = sum(each.variance * each.n * each.n / total for each in (before, after))
    # Errors of 0 throughout have no variance, and no difference either.
    return (_wary(before, variance), _wary(after, variance)) if variance else None


def _more(outcomes: Outcomes | None) -> list[str]:
    """How many more outcomes it takes, and of which label."""
    rows = outcomes.n if outcomes else 0
    missing = [f"{MIN_OUTCOMES - rows} more outcomes"] if rows < MIN_OUTCOMES else []
    if isinstance(outcomes, ScoreCounts):
        counts = enumerate(outcomes.of_label)
        missing += [f"{MIN_OF_A_LABEL - n} more of label {label}" for label, n in counts if n < MIN_OF_A_LABEL]
    return missing


def _wary(of: Estimate, variance: float) -> Estimate:
    return replace(of, variance=max(of.variance, variance / of.n))


def _pooled(estimates: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    total = sum(weights)
    value = sum(weight * each.value for weight, each in zip(weights, estimates, strict=True)) / total
    variance = sum(weight**2 * each.variance for weight, each in zip(weights, estimates, strict=True)) / total**2
    return Estimate(value, variance, sum(each.n for each in estimates))
