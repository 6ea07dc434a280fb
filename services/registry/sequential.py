"""Confidence sequences: bounds that hold at every look, however often one looks, and that need only totals so far.

Howard, Ramdas, McAuliffe, Sekhon: Time-uniform, nonparametric, nonasymptotic confidence sequences (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

# Beta prior of a share that is mostly small; any prior is valid, this one makes bounds tight where shares are.
_PRIOR = (0.5, 4.0)
# Outcomes at which the bounds of means are tightest; they are nearly so from a third of it on.
_TUNED_FOR = 200.0


class Bounds(NamedTuple):
    """What lies between them."""

    low: float
    high: float


def share(successes: int, trials: int, alpha: float) -> Bounds:
    """Bounds of a probability; with probability 1 - alpha they hold at every look.

    Those p that Robbins' mixture martingale has not refuted: beta-binomial likelihood over the likelihood of p, which
    under p exceeds 1 / alpha ever with probability alpha at most (Ville's inequality).
    """
    if not trials:
        return Bounds(0.0, 1.0)
    observed = successes / trials

    def refuted(p: float) -> bool:
        return _log_odds_against(p, successes, trials) >= -math.log(alpha)

    low = _outermost(0.0, observed, refuted) if successes else 0.0
    high = _outermost(1.0, observed, refuted) if successes < trials else 1.0
    return Bounds(low, high)


def quantile_bins(counts: Mapping[int, int], tail: float, alpha: float) -> Bounds:
    """Edges of bins between which the upper `tail` quantile lies; each fails ever with probability alpha at most.

    The quantile is at or above an edge if more than `tail` lies at or beyond it, which is a test of a probability.
    Counts fall from edge to edge, so an edge that is wrongly refuted takes along the one next to the quantile: all
    edges together fail as seldom as that one (Howard, Ramdas: Sequential estimation of quantiles, 2022).
    """
    total, limit = sum(counts.values()), -math.log(alpha)
    low, high, beyond = -math.inf, math.inf, 0
    for index in sorted(counts, reverse=True):
        if beyond < tail * total and _log_odds_against(tail, beyond, total) >= limit:
            high = index + 1
        beyond += counts[index]
        if low == -math.inf and beyond > tail * total and _log_odds_against(tail, beyond, total) >= limit:
            low = index
    return Bounds(low, high)


def two_sided_errors(n: float, alpha: float) -> float:
    """Standard errors on either side of a mean of n, as many as make bounds that hold at every look.

    Asymptotic: of Robbins' normal mixture (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: Time-uniform central limit
    theory and asymptotic confidence sequences, 2024).
    """
    time = _mixed(n, alpha)
    return math.sqrt(2 * (1 + 1 / time) * math.log(math.sqrt(time + 1) / alpha))


def one_sided_errors(n: float, alpha: float) -> float:
    """As `two_sided_errors`, for bounds on one side only."""
    time = _mixed(n, 2 * alpha)
    return math.sqrt(2 * (1 + 1 / time) * math.log1p(math.sqrt(time + 1) / (2 * alpha)))


def _mixed(n: float, alpha: float) -> float:
    """Time on the scale of the mixture: its variance, which makes bounds tightest at `_TUNED_FOR`, times n."""
    return n / _TUNED_FOR * (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha)))


def _log_odds_against(p: float, successes: int, trials: int) -> float:
    """Logarithm of the mixture martingale of p."""
    if not 0 < p < 1:
        return math.inf
    a, b = _PRIOR
    failures = trials - successes
    mixture = _log_beta(a + successes, b + failures) - _log_beta(a, b)
    return mixture - successes * math.log(p) - failures * math.log1p(-p)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _outermost(outside: float, inside: float, refuted: Callable[[float], bool]) -> float:
    """Bisect between a refuted and an unrefuted point; the answer is on the refuted side."""
    for _ in range(50):
        middle = (outside + inside) / 2
        if refuted(middle):
            outside = middle
        else:
            inside = middle
    return outside
