"""Whatever the graph, and whoever travels along, fails or leaves: each row is answered as if it were alone."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import numpy as np
import pytest

from services.gateway.graph.lane import GraphLane
from services.gateway.prediction import NodeState, Outcome
from services.gateway.request import Member
from services.gateway.target import DType, Target
from services.mesh.errors import MeshError
from tests.support.predictions import MemoryFeatures, column, member
from tests.support.waiting import eventually
from tests.unit.gateway.graph.by_row import MANY, TEXTS, Array, ByRow, ModelByRow, RowFailed
from tests.unit.gateway.graph.random_graphs import FEATURES, RandomGraph

CALLERS = 20


@dataclass
class Request:
    """Values of every feature, and the rows in which those are null that have no null."""

    rows: int
    values: dict[str, list[object]]
    nulls: dict[str, list[int]]

    def member(self, aim: Target) -> Member:
        """The request as it travels."""
        taken = aim.overridable
        columns = [column(name, *self.values[name], nulls=self.nulls[name]) for name in FEATURES if name in taken]
        return member(aim, features=columns, seconds=30)

    def inputs(self, aim: Target, row: int) -> list[Array | None]:
        """What the target's inputs are for a row; None where there is none."""
        return [self._input(feed.sources[0].name, feed.dtype, feed.width, row) for feed in aim.inputs]

    def _input(self, name: str, dtype: DType, width: int, row: int) -> Array | None:
        if row in self.nulls[name]:
            return None
        made = np.empty(width, dtype.numpy)
        made[:] = self.values[name][row * width : (row + 1) * width]
        return made


def request(chance: random.Random) -> Request:
    """Any request."""
    rows = chance.randint(1, MANY - 1)
    values: dict[str, list[object]] = {name: [chance.randint(0, 40) / 8 for _ in range(2 * rows)] for name in "hfd"}
    values = {name: found if name == "f" else found[:rows] for name, found in values.items()}
    values["i"] = [chance.randint(-3, 3) for _ in range(rows)]
    values["b"] = [chance.choice(TEXTS) for _ in range(rows)]
    nulls = {name: [row for row in range(rows) if name in "ib" and chance.random() < 0.1] for name in values}
    return Request(rows, values, nulls)


@pytest.mark.parametrize("seed", range(60))
async def test_rows_are_answered_as_if_alone(seed: int) -> None:
    """Outputs, errors and path of every row, of many requests at once; and nothing is left of any."""
    chance = random.Random(seed)
    aim = RandomGraph(chance).target()
    model = ModelByRow(chance)
    lane = GraphLane(aim, MemoryFeatures(), model, max_rows=16, max_queued_rows=1_000, measured=False)
    await asyncio.gather(*(_ask(lane, chance) for _ in range(CALLERS)))
    await eventually(lambda: lane.idle)
    assert 0 == lane.queued_rows


async def _ask(lane: GraphLane, chance: random.Random) -> None:
    """Ask, and either leave after a while or look at the answer."""
    asked = request(chance)
    expected = [_alone(lane.target, asked, row) for row in range(asked.rows)]
    for _ in range(chance.randint(0, 10)):
        await asyncio.sleep(0)
    own = asked.member(lane.target)
    task = asyncio.create_task(lane.answer(own))
    if chance.random() < 0.2:
        for _ in range(chance.randint(0, 50)):
            await asyncio.sleep(0)
        task.cancel()
    try:
        outcome = await task
    except asyncio.CancelledError:
        return
    except MeshError:
        assert [None] * asked.rows == expected
        assert own.failed is not None
        assert set(range(asked.rows)) == set(own.failed)
        return
    for row, alone in enumerate(expected):
        assert (alone is None) == (row in outcome.row_errors)
        if alone is not None:
            _check(outcome, row, alone)


def _alone(aim: Target, asked: Request, row: int) -> ByRow | None:
    assert aim.graph is not None
    try:
        return ByRow(aim.graph, asked.inputs(aim, row))
    except RowFailed:
        return None


def _check(outcome: Outcome, row: int, alone: ByRow) -> None:
    for values, expected in zip(outcome.outputs, alone.outputs, strict=True):
        assert expected.dtype == values.dtype
        np.testing.assert_array_equal(expected, values[row])
    told = [
        (step.node, step.cause if step.state is NodeState.CHOSEN else step.state.name)
        for step in outcome.nodes
        if not step.rows or row in step.rows
    ]
    assert sorted(alone.states.items()) == sorted(told)
    without = {name for name, state in alone.states.items() if state in {"LEFT_OUT", "DEFAULTED"}}
    assert without == {each.subject for each in outcome.degradations if not each.rows or row in each.rows}
