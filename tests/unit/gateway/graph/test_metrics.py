"""What a composed version's lane shows in the metrics, for as long as it is in use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from services.gateway.graph.lane import GraphLane
from tests.support.waiting import eventually
from tests.unit.gateway.graph.compositions import (
    CASCADE,
    DEFAULTED,
    FIRST,
    MEAN,
    NAN,
    SECOND,
    ScriptedModel,
    ask,
    lane_of,
)

NODE = {"model": "m", "model_version": "1.0.0"}


def series() -> dict[tuple[str, ...], float]:
    """What the metrics have of the version's nodes: the rows by node and state, and the calls by node."""
    wanted = ("predictmesh_node_rows_total", "predictmesh_node_duration_seconds_count")
    return {
        (sample.labels["node"], *([sample.labels["state"]] if "state" in sample.labels else ())): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name in wanted and NODE.items() <= sample.labels.items()
    }


@pytest.fixture
def model() -> ScriptedModel:
    """Versions that answer."""
    return ScriptedModel()


@pytest.fixture
def cascade(model: ScriptedModel) -> Iterator[GraphLane]:
    """The callers' lane of a cascade."""
    lane = lane_of(FIRST + SECOND + CASCADE, model, measured=True)
    yield lane
    lane.retire()


async def test_every_row_is_counted_once_at_every_node(cascade: GraphLane) -> None:
    """What was computed and what was skipped is all that came."""
    await ask(cascade, 95, 60, 10, 50)
    assert series() == {
        ("first", "computed"): 4,
        ("second", "computed"): 2,
        ("second", "skipped"): 2,
        ("first",): 1,
        ("second",): 1,
    }


async def test_failures_are_counted_by_what_was_done_about_them(model: ScriptedModel) -> None:
    """Rows that a node has not computed are not counted as computed, too."""
    model.spoilt = {"1.1.0": {7.0: NAN}}
    lane = lane_of(FIRST + DEFAULTED + MEAN, model, measured=True)
    await ask(lane, 7, 20, 40)
    assert {("second", "computed"): 2, ("second", "defaulted"): 1} == {
        key: value for key, value in series().items() if key[0] == "second" and len(key) == 2
    }
    lane.retire()


async def test_a_retired_lane_leaves_no_series(cascade: GraphLane, model: ScriptedModel) -> None:
    """Nor does what was under way then put any back."""
    model.gates["1.1.0"].clear()
    waiting = asyncio.create_task(ask(cascade, 60))
    await eventually(lambda: "1.1.0" in model.rows)
    assert series()
    cascade.retire()
    assert {} == series()
    model.gates["1.1.0"].set()
    await waiting
    assert {} == series()


async def test_lanes_beside_that_of_the_callers_leave_no_series(model: ScriptedModel) -> None:
    """Shadows and explanations are not counted."""
    await ask(lane_of(FIRST + SECOND + CASCADE, model), 60)
    assert {} == series()


async def test_rows_in_the_queues_of_all_segments_are_shown(cascade: GraphLane, model: ScriptedModel) -> None:
    """Rows that wait for the second stage wait for a batch, too."""

    def queued() -> float | None:
        return REGISTRY.get_sample_value("predictmesh_queue_rows", NODE)

    model.gates["1.1.0"].clear()
    waiting = [asyncio.create_task(ask(cascade, 60))]
    await eventually(lambda: "1.1.0" in model.rows)
    waiting.append(asyncio.create_task(ask(cascade, 50, 51)))
    await eventually(lambda: queued() == 2)
    model.gates["1.1.0"].set()
    await asyncio.gather(*waiting)
    assert 0 == queued()
