"""What services have counted, as their /metrics tells it, and how much of it in between two looks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, frozenset[tuple[str, str]]]
"""Name of a sample and its labels."""
Counts = Mapping[Series, float]


@dataclass(frozen=True)
class Measured:
    """What was counted, and in how many seconds."""

    counts: Counts
    seconds: float


def read_counts(text: str, families: Iterable[str]) -> Counts:
    """Return the counters of some families (histograms: their buckets, too) out of a page of metrics."""
    wanted = set(families)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        if family.name in wanted
        for sample in family.samples
    }


def increase(before: Counts, after: Counts) -> Counts:
    """Return by how much counts have grown; of a process that was started again by as much as it has counted since."""
    grown = {series: value - before.get(series, 0) for series, value in after.items()}
    return {series: after[series] if difference < 0 else difference for series, difference in grown.items()}


def add_up(counts: Iterable[Counts]) -> Counts:
    """Return the counts of several processes as those of one."""
    total: defaultdict[Series, float] = defaultdict(float)
    for each in counts:
        for series, value in each.items():
            total[series] += value
    return total


def count(counts: Counts, name: str, **labels: str) -> float:
    """Return the sum of the series of that name with these labels."""
    wanted = labels.items()
    return sum(value for (found, pairs), value in counts.items() if found == name and wanted <= pairs)


def quantile(counts: Counts, histogram: str, share: float, **labels: str) -> float | None:
    """Return what so large a share of the observations is at most, None without any.

    Within a bucket as if they lay there evenly; beyond the last bound that bound.
    """
    buckets: defaultdict[float, float] = defaultdict(float)
    wanted = labels.items()
    for (name, pairs), value in counts.items():
        if name == f"{histogram}_bucket" and wanted <= pairs:
            buckets[float(dict(pairs)["le"])] += value
    reached = share * buckets[math.inf]
    low, below = 0.0, 0.0
    for bound, cumulated in sorted(buckets.items()):
        if cumulated >= reached > 0:
            inside = (reached - below) / (cumulated - below)
            return low if math.isinf(bound) else low + (bound - low) * inside
        low, below = bound, cumulated
    return None
