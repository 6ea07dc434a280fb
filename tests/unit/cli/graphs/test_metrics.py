"""Counts of several processes, and what comes in between two looks."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from services.cli.graphs.metrics import Counts, add_up, count, increase, quantile, read_counts

TEXT = """\
# TYPE rows_total counter
rows_total{node="a",state="computed"} 7.0
rows_total{node="a",state="failed"} 2.0
rows_total{node="b",state="computed"} 5.0
# TYPE others_total counter
others_total 9.0
"""


def test_only_what_is_wanted() -> None:
    """Series are found by name and by some of their labels; other families are left out."""
    counts = read_counts(TEXT, ["rows"])
    assert (9, 7, 12) == (
        count(counts, "rows_total", node="a"),
        count(counts, "rows_total", node="a", state="computed"),
        count(counts, "rows_total", state="computed"),
    )
    assert 0 == count(counts, "others_total")


def test_increase() -> None:
    """What is new counts in full, and so does what a process has counted since it was started again."""
    a, b, c = [("rows_total", frozenset({("node", name)})) for name in "abc"]
    assert {a: 3, b: 4, c: 1} == increase({a: 7, b: 9}, {a: 10, b: 4, c: 1})
    assert {a: 4, b: 2} == add_up([{a: 3}, {a: 1, b: 2}])


def observed(*seconds: float) -> Counts:
    """What a histogram with bounds at 1, 2 and 4 seconds says of these observations."""
    registry = CollectorRegistry()
    histogram = Histogram("time", "Time.", ("node",), buckets=(1, 2, 4), registry=registry)
    for value in seconds:
        histogram.labels("a").observe(value)
    return read_counts(generate_latest(registry).decode(), ["time"])


@pytest.mark.parametrize(
    ("seconds", "share", "expected"),
    [
        ((), 0.5, None),
        ((0.5,), 0.5, 0.5),
        ((0.5, 1.5), 0.5, 1),
        ((0.5, 1.5), 0.99, 1.98),
        ((0.5, 3, 3, 3, 3), 0.6, 3),
        ((9, 9), 0.5, 4),
    ],
)
def test_quantile(seconds: tuple[float, ...], share: float, expected: float | None) -> None:
    """Between bounds observations count as if they lay evenly, beyond the last as that."""
    assert quantile(observed(*seconds), "time", share, node="a") == pytest.approx(expected)


def test_quantile_of_others() -> None:
    """Only series with these labels count."""
    assert quantile(observed(1), "time", 0.5, node="b") is None
