"""What gateways count: totals of one process since it started, and their sums over processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from services.registry.definitions import Tensor

MAX_EXAMPLES = 10

K = TypeVar("K")
V = TypeVar("V", "ArmTotals", "ShadowTotals")


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by bins, ascending; only bins that have any. What a bin holds, its user says."""

    bins: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    def __add__(self, other: Histogram) -> Histogram:
        """All of both."""
        counted = dict(zip(self.bins, self.counts, strict=True))
        for index, count in zip(other.bins, other.counts, strict=True):
            counted[index] = counted.get(index, 0) + count
        bins = tuple(sorted(counted))
        return Histogram(bins, tuple(map(counted.__getitem__, bins)))


@dataclass(frozen=True, slots=True)
class ArmTotals:
    """What one version did in one step of a release; `latency` has those that were answered, see traffic.proto."""

    endpoint: str
    release_id: int
    step: int
    version: str
    requests: int = 0
    errors: int = 0
    latency: Histogram = field(default_factory=Histogram)

    def __add__(self, other: ArmTotals) -> ArmTotals:
        """Both together, of the same version in the same step."""
        return replace(
            self,
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            latency=self.latency + other.latency,
        )


@dataclass(frozen=True, slots=True)
class ShadowExample:
    """A row that was answered differently, by at most `difference` in an element."""

    prediction_id: str
    row: int
    difference: float
    entities: tuple[Tensor, ...] = ()
    primary: tuple[Tensor, ...] = ()
    shadow: tuple[Tensor, ...] = ()
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShadowTotals:
    """How the answers of the version `shadow` compare with those of `primary`, which callers got; see traffic.proto."""

    endpoint: str
    primary: str
    shadow: str
    rows: int = 0
    exact_rows: int = 0
    tolerant_rows: int = 0
    top1_rows: int = 0
    errors: int = 0
    dropped: int = 0
    ranked_rows: int = 0
    differences: Histogram = field(default_factory=Histogram)
    difference_sum: float = 0.0
    worst: tuple[ShadowExample, ...] = ()
    last_time: datetime | None = None

    def __add__(self, other: ShadowTotals) -> ShadowTotals:
        """Both together, of the same versions: of the examples the worst."""
        times = [each.last_time for each in (self, other) if each.last_time]
        return replace(
            self,
            rows=self.rows + other.rows,
            exact_rows=self.exact_rows + other.exact_rows,
            tolerant_rows=self.tolerant_rows + other.tolerant_rows,
            top1_rows=self.top1_rows + other.top1_rows,
            errors=self.errors + other.errors,
            dropped=self.dropped + other.dropped,
            ranked_rows=self.ranked_rows + other.ranked_rows,
            differences=self.differences + other.differences,
            difference_sum=self.difference_sum + other.difference_sum,
            worst=_worst(self.worst + other.worst),
            last_time=max(times, default=None),
        )


def summed(totals: Iterable[V], key: Callable[[V], K]) -> dict[K, V]:
    """The totals of one key added up, in the order in which keys come."""
    sums: dict[K, V] = {}
    for each in totals:
        known = sums.get(key(each))
        sums[key(each)] = each if known is None else known + each
    return sums


def _worst(examples: tuple[ShadowExample, ...]) -> tuple[ShadowExample, ...]:
    return tuple(sorted(examples, key=_farthest_first)[:MAX_EXAMPLES])


def _farthest_first(example: ShadowExample) -> tuple[float, str, int]:
    # No number is as far off as can be; it would also have no place in an order.
    difference = math.inf if math.isnan(example.difference) else example.difference
    return (-difference, example.prediction_id, example.row)
