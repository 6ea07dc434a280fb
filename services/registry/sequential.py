"""Bounds and tests that hold at every look, however often one looks, and that need only totals so far.

Each rests on a martingale that starts at 1: under the truth it ever exceeds 1 / alpha with probability alpha at most
(Ville's inequality). Howard, Ramdas, McAuliffe, Sekhon: Time-uniform, nonparametric, nonasymptotic confidence
sequences, 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Beta prior of a probability: any is valid, and this one makes the bounds of small ones tight.
_PRIOR = (0.5, 10.0)
# Outcomes at which the bounds of means are tightest; they are nearly so from a third of it on.
_TUNED_FOR = 400.0
_BISECTIONS = 32


class Bounds(NamedTuple):
    """Ends of an interval."""

    low: float
    high: float


class Trials(NamedTuple):
    """Independent trials, and how many of them succeeded."""

    successes: float
    total: int

    @property
    def share(self) -> float:
        """Share of successes."""
        return self.successes / self.total


def share_bounds(trials: Trials, alpha: float) -> Bounds:
    """Bounds of the probability of success; they ever fail with probability alpha at most."""
    limit = -math.log(alpha)

    def refuted(p: float) -> bool:
        return _against(p, trials) >= limit

    low = _outermost(0.0, trials.share, refuted) if trials.successes else 0.0
    high = _outermost(1.0, trials.share, refuted) if trials.successes < trials.total else 1.0
    return Bounds(low, high)


def share_exceeds(stable: Trials, candidate: Trials, margin: float, alpha: float) -> bool:
    """Whether the candidate's probability is larger by more than `margin`; ever wrong with probability alpha at most.

    The product of both martingales must refute every pair of probabilities within the margin. Of these the one that it
    refutes least differs by just the margin, and along those the product is convex.
    """
    low, high = stable.share, candidate.share - margin
    if low >= high:
        return False

    def falls(p: float) -> bool:
        return _slope(p, stable) + _slope(p + margin, candidate) < 0

    p = _outermost(low, high, falls)
    return _against(p, stable) + _against(p + margin, candidate) >= -math.log(alpha)


def quantile_bounds(counts: Mapping[int, int], tail: float, alpha: float) -> Bounds:
    """Edges of bins between which the upper `tail` quantile lies; each ever fails with probability alpha at most.

    Whether the quantile lies at or beyond an edge is a test of the probability to do so. The probabilities fall from edge
    to edge, and so an edge that is wrongly refuted takes along the one next to the quantile: all edges together fail as
    seldom as that one. Howard, Ramdas: Sequential estimation of quantiles with applications to A/B testing, 2022.
    """
    limit, high, total = -math.log(alpha), math.inf, sum(counts.values())
    beyond = Trials(0, total)
    for index in sorted(counts, reverse=True):
        if beyond.share < tail and _against(tail, beyond) >= limit:
            high = index + 1
        beyond = Trials(beyond.successes + counts[index], total)
        if beyond.share > tail and _against(tail, beyond) >= limit:
            return Bounds(index, high)
    return Bounds(-math.inf, high)


def quantile_exceeds(
    stable: Mapping[int, int], candidate: Mapping[int, int], tail: float, shift: float, alpha: float
) -> bool:
    """Whether the candidate's upper `tail` quantile is more than `shift` bins above that of the stable version.

    Ever wrong with probability alpha at most. Wherever the stable version's quantile may lie, it must be refuted that at
    least `tail` of the stable version's lie from there on and at most `tail` of the candidate's `shift` bins beyond: by
    the product of both martingales, as in `share_exceeds`. Values are taken to lie evenly in their bins.
    """
    places = np.arange(min(stable), max(*stable, *candidate) + 2, 0.5)
    stable_beyond, candidate_beyond = _beyond(stable, places), _beyond(candidate, places + shift)
    totals = sum(stable.values()), sum(candidate.values())
    # Where the quantile most likely lies comes first: there it mostly fails.
    order = np.argsort(np.abs(stable_beyond / totals[0] - tail))
    limit = -math.log(alpha)
    for counts in zip(stable_beyond[order].tolist(), candidate_beyond[order].tolist(), strict=True):
        before, after = map(Trials, counts, totals)
        if _against(max(tail, before.share), before) + _against(min(tail, after.share), after) < limit:
            return False
    return True


def two_sided_errors(n: float, alpha: float) -> float:
    """Standard errors on either side of a mean of n that make bounds of it.

    Asymptotic, of a normal mixture. Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: Time-uniform central limit theory and
    asymptotic confidence sequences, 2024.
    """
    time = _mixed(n, alpha)
    return math.sqrt(2 * (1 + 1 / time) * math.log(math.sqrt(time + 1) / alpha))


def one_sided_errors(n: float, alpha: float) -> float:
    """As `two_sided_errors`, for a bound on one side only."""
    time = _mixed(n, 2 * alpha)
    return math.sqrt(2 * (1 + 1 / time) * math.log1p(math.sqrt(time + 1) / (2 * alpha)))


def _mixed(n: float, alpha: float) -> float:
    """Times n the variance of the mixture that makes bounds tightest at `_TUNED_FOR`."""
    return n / _TUNED_FOR * (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha)))


def _beyond(counts: Mapping[int, int], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many of the values lie at or beyond each place, in bins."""
    edges = np.arange(min(counts), max(counts) + 2)
    at_edges = np.cumsum([counts.get(index, 0) for index in reversed(edges.tolist())])[::-1]
    beyond: NDArray[np.float64] = np.interp(places, edges, at_edges)
    return beyond


def _against(p: float, trials: Trials) -> float:
    """Logarithm of Robbins' martingale of p: the likelihood under the prior over that of p."""
    failures = trials.total - trials.successes
    return _log_mixture(trials) - _times_log(trials.successes, p) - _times_log(failures, 1 - p)


@lru_cache(maxsize=64)  # asked for again and again while a root is sought
def _log_mixture(trials: Trials) -> float:
    """Log likelihood under the prior: beta-binomial."""
    a, b = _PRIOR
    return _log_beta(a + trials.successes, b + trials.total - trials.successes) - _log_beta(a, b)


def _slope(p: float, trials: Trials) -> float:
    """Derivative of `_against` by p."""
    return (trials.total - trials.successes) / (1 - p) - trials.successes / p


def _times_log(count: float, p: float) -> float:
    if not count:
        return 0.0
    return count * math.log(p) if p > 0 else -math.inf


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _outermost(outside: float, inside: float, holds: Callable[[float], bool]) -> float:
    """Bisect between a point where it holds and one where it does not; the answer is a point where it does."""
    for _ in range(_BISECTIONS):
        middle = (outside + inside) / 2
        if holds(middle):
            outside = middle
        else:
            inside = middle
    return outside
