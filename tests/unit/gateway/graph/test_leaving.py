"""What becomes of rows in later segments when somebody leaves, or when nobody needs them any more."""

from __future__ import annotations

import asyncio
import gc

import pytest

from services.gateway.graph import batch
from services.gateway.graph.batch import GraphBatch
from services.gateway.prediction import Outcome
from services.mesh.coalescing import Quantile
from services.mesh.errors import MeshError, Reason
from tests.support.virtual_time import run_virtually
from tests.support.waiting import eventually
from tests.unit.gateway.graph.compositions import (
    BROKEN,
    CASCADE,
    FIRST,
    MEAN,
    MODEL,
    OPTIONAL,
    SECOND,
    ScriptedModel,
    ask,
    lane_of,
    numbers,
    path,
)

# Unsure rows are asked at two versions side by side, and all rows at a third behind the cascade.
TWO_AND_AFTER = (
    FIRST
    + SECOND
    + MODEL.format("third", "1.2.0", "")
    + """
nodes { name: "both" ensemble { method: ENSEMBLE_METHOD_MEAN
  members { source { node: "second" } } members { source { node: "third" } } } }
nodes { name: "sure" cascade {
  stages { node: "first" confidence { node: "first" } threshold: 0.8 } stages { node: "both" } } }
nodes { name: "after" model { model: "m" version: "1.3.0" inputs { input: "x" sources { node: "sure" } } } }
outputs { name: "p" source { node: "after" } }
"""
)


def batches() -> int:
    """How many batches are still held by anybody."""
    gc.collect()
    return sum(isinstance(each, GraphBatch) for each in gc.get_objects())


async def test_rows_that_left_a_queue_are_forgotten() -> None:
    """Nothing is kept of a caller who left while his rows waited for a later segment."""
    model = ScriptedModel()
    model.hanging = {"1.1.0"}
    lane = lane_of(FIRST + SECOND + CASCADE, model)
    before = batches()
    under_way = asyncio.create_task(ask(lane, 50))
    await eventually(lambda: "1.1.0" in model.rows)
    queued = [asyncio.create_task(ask(lane, 60)) for _ in range(3)]
    await eventually(lambda: lane.queued_rows == 3)
    for task in (*queued, under_way):
        task.cancel()
    await asyncio.gather(under_way, *queued, return_exceptions=True)
    await eventually(lambda: lane.idle)
    # What they ended with holds what they were doing then.
    del under_way, queued, task
    assert (0, before) == (lane.queued_rows, batches())


async def test_who_leaves_does_not_take_his_company_along() -> None:
    """A caller whose own row of a call has failed still waits for his other rows when the call ends with its last row."""
    model = ScriptedModel()
    model.spoilt = {"1.1.0": {60.0: BROKEN}}
    model.hanging = {"1.2.0"}
    model.gates["1.3.0"].clear()
    lane = lane_of(TWO_AND_AFTER, model)
    stays, leaves = (asyncio.create_task(ask(lane, *values)) for values in ((60.0, 95.0), (61.0,)))
    await eventually(lambda: {"1.1.0", "1.2.0", "1.3.0"} <= model.rows.keys())
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    await eventually(lambda: model.cancelled == 1)
    model.gates["1.3.0"].set()
    outcome = await stays
    assert numbers(outcome) == [0.0, 0.0095]
    assert {0: Reason.RUNTIME_FAILED} == {row: error.reason for row, error in outcome.row_errors.items()}


async def test_call_is_given_up_when_all_of_its_rows_are_answered() -> None:
    """Also when their caller has not left, but was answered: his row of the call failed at another version."""
    model = ScriptedModel()
    model.failing, model.hanging = {"1.1.0"}, {"1.2.0"}
    model.gates["1.1.0"].clear()
    lane = lane_of(TWO_AND_AFTER, model)
    waiting = asyncio.create_task(ask(lane, 60, 95))
    await eventually(lambda: {"1.1.0", "1.2.0", "1.3.0"} <= model.rows.keys())
    model.gates["1.1.0"].set()
    assert [0] == list((await waiting).row_errors)
    await eventually(lambda: model.cancelled == 1, within_s=2)
    await eventually(lambda: lane.idle)


@pytest.mark.parametrize("value", [95, 60])
async def test_fault_of_our_own_is_told_at_once(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whichever segment it happens, nobody waits until his time is over."""

    def faulty(*_: object) -> Outcome:
        raise ZeroDivisionError

    monkeypatch.setattr(batch, "outcome_at", faulty)
    lane = lane_of(FIRST + SECOND + CASCADE, ScriptedModel())
    found = await asyncio.gather(*(ask(lane, value, seconds=30) for _ in range(3)), return_exceptions=True)
    assert [Reason.INTERNAL] * 3 == [error.reason for error in found if isinstance(error, MeshError)]


async def test_full_queue_of_a_later_segment_fails_only_what_goes_there() -> None:
    """A row for which there is no room is Overloaded, or answered by the stage before where the next is optional."""
    for second, expected in ((SECOND, Reason.OVERLOADED), (OPTIONAL, 0.7)):
        model = ScriptedModel()
        model.hanging = {"1.1.0"}
        lane = lane_of(FIRST + second + CASCADE, model, max_queued_rows=1)
        waiting = [asyncio.create_task(ask(lane, 50))]
        await eventually(lambda model=model: "1.1.0" in model.rows)  # type: ignore[misc]
        waiting.append(asyncio.create_task(ask(lane, 60)))
        await eventually(lambda lane=lane: lane.queued_rows == 1)  # type: ignore[misc]
        assert expected == await _told(lane, 70)
        assert 0.95 == await _told(lane, 95)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await eventually(lambda lane=lane: lane.idle)  # type: ignore[misc]


def test_optional_node_that_has_long_hung_makes_nobody_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody learns from calls without an answer to wait longer: a caller with less time than his company is in time."""
    monkeypatch.setattr(Quantile, "STEP", 1.0)

    async def go() -> None:
        model = ScriptedModel()
        model.hanging = {"1.1.0"}
        lane = lane_of(FIRST + OPTIONAL + MEAN, model)
        for _ in range(6):
            await ask(lane, 20, seconds=0.4)
        _, hurried = await asyncio.gather(ask(lane, 20, seconds=5), ask(lane, 40, seconds=0.6))
        assert ("second", "LEFT_OUT", [], "DEADLINE_EXCEEDED") == path(hurried)[1]

    run_virtually(go())


async def _told(lane: object, value: float) -> object:
    try:
        return numbers(await ask(lane, value))[0]  # type: ignore[arg-type]
    except MeshError as error:
        return error.reason
