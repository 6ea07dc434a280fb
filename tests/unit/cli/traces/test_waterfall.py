"""A trace is drawn as a tree with bars on one scale, whatever is missing in it."""

from __future__ import annotations

import re

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.traces.spans import Event, Span
from services.cli.traces.waterfall import arrange, draw
from tests.support.spans import span


def shape(spans: list[Span]) -> list[tuple[int, str]]:
    """Return depth and id of each line."""
    return [(line.depth, line.span.span_id) for line in arrange(spans, "t1")]


def test_tree() -> None:
    """Children stand below their parent, siblings by start, in whatever order they arrived."""
    spans = [
        span("model", "predict", at=(6, 9)),
        span("features", "predict", at=(1, 5)),
        span("serve", "features", at=(2, 4)),
        span("predict", "caller"),
    ]
    assert [(0, "predict"), (1, "features"), (2, "serve"), (1, "model")] == shape(spans)


def test_parent_that_has_not_arrived() -> None:
    """A span whose parent is unknown stands at the margin."""
    assert [(0, "a"), (0, "b")] == shape([span("a", "unknown"), span("b", "gone", at=(1, 2))])


def test_cycles() -> None:
    """Spans that are each other's parents, or their own, are shown nevertheless, once each."""
    spans = [span("a", "b"), span("b", "a"), span("c", "c"), span("d")]
    assert {"a", "b", "c", "d"} == {span_id for _, span_id in shape(spans)}
    assert 4 == len(shape(spans))


def test_batch_of_another_trace() -> None:
    """A batch that carried the request stands below it with a mark and its own children, and says how many it carried."""
    spans = [
        span("predict", "caller"),
        span("batch", "other", trace_id="t2", at=(1, 9), links=(("t1", "predict"), ("t3", "x"))),
        span("hop", "batch", trace_id="t2", at=(2, 8)),
    ]
    assert [(0, "predict"), (1, "batch"), (2, "hop")] == shape(spans)
    lines = [click.unstyle(line) for line in draw(spans, "t1", 80)]
    assert lines[1].startswith("  ⇢ gateway batch")
    assert lines[1].endswith("batch of 2")


@pytest.mark.parametrize(
    ("at", "left", "length"),
    [((0, 100), 0, 100), ((50, 100), 50, 50), ((0, 0), 0, 1), ((99, 100), 99, 1), ((100, 100), 99, 1)],
)
def test_bars(at: tuple[int, int], left: int, length: int) -> None:
    """A bar lies where the time of the span lies in the whole; the shortest is still to be seen."""
    whole, part = draw([span("a", at=(0, 100)), span("b", "a", at=at)], "t1", 11 + 12 + 100)
    assert 100 == whole.count("█")
    bar = re.search(r"b (?P<gap> *)(?P<bar>█+)", click.unstyle(part))
    assert bar is not None
    assert left == pytest.approx(len(bar["gap"]), abs=1)
    assert length == pytest.approx(len(bar["bar"]), abs=1)


def test_errors_are_marked() -> None:
    """A span that failed says why, in red."""
    (line,) = draw([span("a", error="too late")], "t1", 80)
    assert click.unstyle(line).endswith("✗ too late")
    assert click.style("✗ too late", fg="red") in line


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"state": "skipped", "cause": "mlp", "rows": "3"}, "skipped: mlp was sure"),
        ({"rows": "3", "answered_rows": "3"}, "3 of 3 rows"),
        ({"rows": "3", "answered_rows": "1", "error.type": "NO_LAST_ANSWER"}, "1 of 3 rows, NO_LAST_ANSWER"),
    ],
)
def test_path_is_told(attributes: dict[str, str], told: str) -> None:
    """A node that was skipped says why, and a step of a ladder how many rows it answered and why it left others."""
    (line,) = draw([span("a", attributes=attributes)], "t1", 80)
    assert click.unstyle(line).endswith(f"  {told}")


def test_names_without_what_all_have_in_common() -> None:
    """Service and method are shown without the product's name and the package; what is no method as it is."""
    (line,) = draw([span("a", name="predictmesh.gateway.v1.PredictionService/Predict")], "t1", 80)
    assert line.startswith("gateway PredictionService/Predict ")
    (line,) = draw([span("a", name="fallback version 1.0.0")], "t1", 80)
    assert line.startswith("gateway fallback version 1.0.0 ")


def test_nothing() -> None:
    """No spans make no lines."""
    assert [] == draw([], "t1", 80)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20))
def test_every_span_once(parts: list[tuple[int, int, int]]) -> None:
    """Whatever parents and times there are, every span takes exactly one line and no bar leaves its space."""
    spans = [span(str(index), str(parent), at=(min(a, b), max(a, b))) for index, (parent, a, b) in enumerate(parts)]
    assert sorted(str(index) for index in range(len(parts))) == sorted(span_id for _, span_id in shape(spans))
    assert 120 >= max(len(click.unstyle(line)) for line in draw(spans, "t1", 120))


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (
            (
                Event("degraded", 0, {"reason": "FEATURE_ABSENT", "subject": "plane"}),
                Event("degraded", 0, {"reason": "STORE_UNREACHABLE", "subject": "tail"}),
            ),
            "degraded: FEATURE_ABSENT plane, STORE_UNREACHABLE tail",
        ),
        ((Event("retry", 0, {"hop": "model", "replica": "10.0.0.1:50053"}),), "retry: 10.0.0.1:50053"),
        (
            (Event("queue", 0, {"duration_us": "131"}), Event("model", 0, {"duration_us": "2069"})),
            "queue: 131 us  model: 2.07 ms",
        ),
        ((Event("exception", 0, {"exception.type": "OVERLOADED"}),), "10 ms"),
    ],
)
def test_events_are_told(events: tuple[Event, ...], told: str) -> None:
    """What an answer lacks, second attempts and the times of hops stand beside the span; its error does already."""
    (line,) = draw([span("a", events=events)], "t1", 80)
    assert click.unstyle(line).endswith(f" {told}")
