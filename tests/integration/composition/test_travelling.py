"""Requests that go through a graph together: company, deadlines and callers who leave make no difference to the others."""

from __future__ import annotations

import asyncio
import random
import time

import grpc
import pytest
import pytest_asyncio

from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from tests.support.scripted_models import Answer, ScriptedModel, refused, scalar
from tests.worlds.compositions import Compositions, looked_up, numbered, output, path, until_waiting
from tests.worlds.failures import failure, failure_of, status_failure
from tests.worlds.graphs import cascade, ensemble, graph, node
from tests.worlds.sandbox import TIMEOUT_S, eventually

COUNT = 60
# How much later than at its deadline a call may end here, on a machine that is busy otherwise.
LATE_S = 1.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def models(whole: Compositions) -> list[ScriptedModel]:
    """Endpoint `chain`: first gives ten times a row's number, second three times that, and last the sum of both."""
    first = await whole.script("first", lambda inputs: {"y": inputs["x"] * 10})
    second = await whole.script("second", lambda inputs: {"y": inputs["p"] * 3}, scalar("p"))
    last = await whole.script("last", lambda inputs: {"y": inputs["a"] + inputs["b"]}, scalar("a", "b"))
    nodes = [
        node("first", "first@1.0.0"),
        node("second", "second@1.0.0", {"p": "first"}),
        node("last", "last@1.0.0", {"a": "first", "b": "second"}),
    ]
    await whole.serve("chain", graph(*nodes, y="last", raw="first"))
    return [first, second, last]


@pytest.fixture(autouse=True)
def fresh(models: list[ScriptedModel]) -> None:
    """Forget what was asked before."""
    for model in models:
        model.calls.clear()
        model.cancelled = 0


async def ask(whole: Compositions, *rows: float, timeout: float = TIMEOUT_S) -> PredictResponse:
    """Ask for rows of the chain; the answer must be right."""
    request = whole.own.request("chain", {}, {"x": list(rows)})
    answer = await whole.own.mesh.gateway.Predict(request, timeout=timeout)
    assert not answer.row_errors
    assert ([40.0 * row for row in rows], [10.0 * row for row in rows]) == (output(answer), output(answer, "raw"))
    return answer


async def test_nodes_are_called_less_often_than_requests_come(whole: Compositions, models: list[ScriptedModel]) -> None:
    """What arrives while a batch is under way goes through every node together, and comes back to whom it is of."""
    with models[0].hanging():
        waiting = asyncio.create_task(ask(whole, 1))
        await until_waiting(models[0])
        rest = [asyncio.create_task(ask(whole, float(row), row + 0.5)) for row in range(2, COUNT)]
    answers = await asyncio.gather(waiting, *rest)
    for model in models:
        assert len(model.calls) < COUNT / 3
    assert len(models[0].asked()) == len(models[1].asked("p")) == len(models[2].asked("a")) == 1 + 2 * (COUNT - 2)
    assert max(step.batch_rows for answer in answers for step in answer.provenance.nodes) > 2


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_caller_who_leaves(whole: Compositions, models: list[ScriptedModel], place: int) -> None:
    """The call of a node for which nobody waits any more is cancelled, wherever the request is, and nothing follows it."""
    model = models[place]
    with model.hanging():
        call = asyncio.create_task(ask(whole, 1))
        await until_waiting(model)
        call.cancel()

        async def cancelled() -> bool:
            return model.cancelled > 0

        await eventually(cancelled, "the call of the node cancelled")
    assert all(not later.calls for later in models[place + 1 :])
    await ask(whole, 2)


@pytest.mark.parametrize("place", [0, 1])
async def test_caller_who_leaves_others(whole: Compositions, models: list[ScriptedModel], place: int) -> None:
    """Those who travel with him are answered."""
    with models[place].hanging():
        ahead = asyncio.create_task(ask(whole, 9))
        await until_waiting(models[place])
        calls = [asyncio.create_task(ask(whole, row)) for row in range(1, 9)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
    await asyncio.gather(ahead, *calls[1::2])
    assert all(call.cancelled() or call.done() for call in calls)
    models[place].cancelled = 0


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_mixed_deadlines(whole: Compositions, models: list[ScriptedModel], place: int) -> None:
    """Who has little time is told in time that it is over; who has more, in the same batch, is answered."""
    with models[0].hanging():
        ahead = asyncio.create_task(ask(whole, 1))
        await until_waiting(models[0])
        patient = [asyncio.create_task(ask(whole, row)) for row in (2, 4)]
        hasty = [asyncio.create_task(failure(ask(whole, row, timeout=0.4))) for row in (3, 5)]
        started = time.monotonic()
        if place:
            models[place].gate.clear()
            models[0].gate.set()
            await until_waiting(models[place])
        found = await asyncio.gather(*hasty)
        assert time.monotonic() - started < 0.4 + LATE_S
        models[place].gate.set()
    assert {"DEADLINE_EXCEEDED"} == {each.code for each in found}
    await asyncio.gather(ahead, *patient)


BROKEN = {"early": {3.0, 11.0}, "odd": {5.0, 6.0, 7.0}, "late": {8.0, 11.0, 12.0}}


def divided(name: str, by: float) -> Answer:
    """Y = x / by, but for the rows that are broken there: a batch with one of them fails."""
    return lambda inputs: refused(inputs) if BROKEN[name] & set(inputs["x"].tolist()) else {"y": inputs["x"] / by}


def naive(row: float) -> float | str:
    """The mean of early and odd, without odd where that fails, if it is sure; else late. Or why there is no answer."""
    if row in BROKEN["early"]:
        return "RUNTIME_FAILED"
    first = row / 16 if row in BROKEN["odd"] else (row / 16 + row / 32) / 2
    if 0 <= first <= 1 and max(first, 1 - first) >= 0.75:
        return first
    return "RUNTIME_FAILED" if row in BROKEN["late"] else row / 64


async def told(whole: Compositions, rows: list[float]) -> list[float | str]:
    """What each row is told, an answer or a reason; odd must be told of where it failed, and nowhere else."""
    try:
        answer = await whole.own.predict("mixed", {}, {"x": rows})
    except grpc.aio.AioRpcError as error:
        return [failure_of(error).reason] * len(rows)
    found: list[float | str] = list(output(answer))
    for each in answer.row_errors:
        found[each.row] = status_failure(each.status).reason
    left_out = {
        place for state, places, _ in path(answer)["odd"] if state == "LEFT_OUT" for place in places or range(256)
    }
    answered = {place for place, value in enumerate(found) if not isinstance(value, str)}
    assert {place for place in answered if rows[place] in BROKEN["odd"]} == left_out & answered
    return found


async def test_no_row_is_given_what_is_of_another(whole: Compositions) -> None:
    """Requests of all sizes through a cascade with an optional node and rows that fail: each row as if it were alone."""
    await whole.scripts(early=divided("early", 16), odd=divided("odd", 32), late=divided("late", 64))
    nodes = [node(name, f"{name}@1.0.0", optional=name == "odd") for name in ("early", "odd", "late")]
    first = ensemble("first", "MEAN", ["early", "odd"])
    await whole.serve("mixed", graph(*nodes, first, cascade("both", ("first", 0.75), "late"), y="both"))
    choose = random.Random(5)
    requests = [[float(choose.randrange(1, 17)) for _ in range(choose.choice((1, 1, 2, 5, 20)))] for _ in range(40)]
    found = await asyncio.gather(*(told(whole, rows) for rows in requests))
    assert [[naive(row) for row in rows] for rows in requests] == found


async def test_hung_node_of_one_endpoint_leaves_others_alone(whole: Compositions, models: list[ScriptedModel]) -> None:
    """Also one of which the same version is a node beside the hung one."""
    hung = await whole.script("hung", looked_up(1, 2, 3))
    nodes = [node("first", "first@1.0.0"), node("hung", "hung@1.0.0")]
    await whole.serve("stuck", graph(*nodes, ensemble("both", "MAX", ["first", "hung"]), y="both"))
    with hung.hanging():
        stuck = asyncio.create_task(whole.own.predict("stuck", {}, numbered(3)))
        await until_waiting(hung)
        await asyncio.gather(*(ask(whole, row) for row in range(1, 30)))
        assert not stuck.done()
    assert [10.0, 20.0, 30.0] == output(await stuck)
