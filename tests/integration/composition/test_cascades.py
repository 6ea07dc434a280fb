"""Cascades: each row goes as far as it must, and what is not asked is not computed."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
import pytest_asyncio

from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from services.model.versions import Signature, TensorSpec
from tests.support.scripted_models import ScriptedModel, refused
from tests.worlds.compositions import Compositions, degraded, looked_up, numbered, output, path, until_waiting
from tests.worlds.failures import status_failure
from tests.worlds.graphs import cascade, ensemble, graph, node
from tests.worlds.sandbox import eventually

# Of rows 1 to 6; sure from 0.8 on are 1, 3 and 4.
EARLY = (0.9, 0.5, 0.125, 0.8, 0.75, 0.25)
LATE = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
SURE, UNSURE = [1, 3, 4], [2, 5, 6]
STAGES = (node("early", "early@1.0.0"), node("late", "late@1.0.0"), cascade("both", ("early", 0.8), "late"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def early(whole: Compositions) -> ScriptedModel:
    """The first stage."""
    return await whole.script("early", looked_up(*EARLY))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def late(whole: Compositions, early: ScriptedModel) -> ScriptedModel:
    """The second one, which is asked where the first is not sure."""
    made = await whole.script("late", looked_up(*LATE))
    await whole.serve("sure", graph(*STAGES, y="both"))
    return made


@pytest.fixture
def fresh(early: ScriptedModel, late: ScriptedModel) -> None:
    """Forget what was asked before."""
    early.calls.clear()
    late.calls.clear()


def expected(rows: list[int]) -> list[float]:
    """What a cascade of the two answers."""
    return [float(np.float32(EARLY[row - 1] if row in SURE else LATE[row - 1])) for row in rows]


async def ask(whole: Compositions, *rows: int, endpoint: str = "sure") -> PredictResponse:
    """Ask for rows; the answer must be right."""
    answer = await whole.own.predict(endpoint, {}, {"x": [float(row) for row in rows]})
    assert not answer.row_errors
    assert expected(list(rows)) == output(answer)
    return answer


async def test_rows_take_their_own_paths(whole: Compositions, late: ScriptedModel, fresh: None) -> None:
    """The second stage is given the unsure rows alone; the answer tells of each row which stage it is of."""
    answer = await ask(whole, 6, 1, 2, 3, 4, 5)
    assert [6.0, 2.0, 5.0] == late.asked()
    assert {
        "early": [("COMPUTED", [], "")],
        "late": [("COMPUTED", [0, 2, 5], ""), ("SKIPPED", [1, 3, 4], "early")],
        "both": [("CHOSEN", [0, 2, 5], "late"), ("CHOSEN", [1, 3, 4], "early")],
    } == {name: sorted(steps, key=lambda step: step[1]) for name, steps in path(answer).items()}
    assert not answer.provenance.degradations


async def test_nothing_more_is_asked_than_must_be(
    whole: Compositions, early: ScriptedModel, late: ScriptedModel, fresh: None
) -> None:
    """Sure rows cost one call; rows of which none is sure cost both, and every row is told so."""
    answer = await ask(whole, *SURE)
    assert ([1.0, 3.0, 4.0], []) == (early.asked(), late.calls)
    assert [("SKIPPED", [], "early")] == path(answer)["late"]
    assert [("CHOSEN", [], "early")] == path(answer)["both"]
    answer = await ask(whole, *UNSURE)
    assert [2.0, 5.0, 6.0] == late.asked()
    assert [("CHOSEN", [], "late")] == path(answer)["both"]


async def test_sure_rows_do_not_wait(whole: Compositions, late: ScriptedModel, fresh: None) -> None:
    """While the second stage hangs, requests whose rows are all sure are answered, beside others and after them."""
    with late.hanging():
        unsure = [asyncio.create_task(ask(whole, 1, row)) for row in UNSURE]
        beside = await asyncio.gather(*(ask(whole, *SURE) for _ in range(5)))
        await until_waiting(late)
        after = [await ask(whole, row) for row in SURE]
        assert not any(task.done() for task in unsure)
    assert all(("CHOSEN", [1], "late") in path(answer)["both"] for answer in await asyncio.gather(*unsure))
    assert {"early"} == {cause for answer in (*beside, *after) for _, _, cause in path(answer)["both"]}


async def test_unsure_rows_of_many_requests_travel_together(
    whole: Compositions, early: ScriptedModel, late: ScriptedModel, fresh: None
) -> None:
    """Those of several first batches make one second batch, and each request has its own rows back."""
    with late.hanging():
        first = asyncio.create_task(ask(whole, 2))
        await until_waiting(late)
        rest = [asyncio.create_task(ask(whole, *rows)) for rows in [(1, 2), (5, 3, 6), (6,)] * 20]

        async def all_through() -> bool:
            return len(early.asked()) == 1 + 6 * 20

        await eventually(all_through, "every row at the first stage")
    answers = await asyncio.gather(first, *rest)
    assert 1 + 4 * 20 == len(late.asked())
    assert len(late.calls) <= len(early.calls) + 4
    assert len(late.calls) < 20
    assert max(step.batch_rows for answer in answers for step in answer.provenance.nodes if step.node == "late") > 4


async def test_threshold_is_enough(whole: Compositions) -> None:
    """A confidence of exactly the threshold is sure; a threshold of 1 asks the next unless it is certain."""
    await whole.table("exact", y=np.array([0.75, 0.25, 0.7499, 1.0, 0.0]))
    await whole.table("other", y=np.full(5, -1.0))
    for name, threshold, found in (
        ("exactly", 0.75, [0.75, 0.25, -1, 1, 0]),
        ("certainly", 1.0, [-1.0, -1.0, -1.0, 1.0, 0.0]),
    ):
        stages = cascade("both", ("first", threshold), "second")
        await whole.serve(name, graph(node("first", "exact@1.0.0"), node("second", "other@1.0.0"), stages, y="both"))
        assert found == output(await whole.own.predict(name, {}, {"x": [0, 1, 2, 3, 4]}))


async def test_confidence_that_cannot_be(whole: Compositions) -> None:
    """NaN and what is no probability is never sure: the next stage answers."""
    odd = [math.nan, math.inf, -math.inf, 1.5, -0.5, 0.9]
    await whole.table("odd", y=np.array(odd, np.float32))
    await whole.table("even", y=np.arange(6, dtype=np.float32))
    stages = cascade("both", ("odd", 0.8), "even")
    await whole.serve("unlikely", graph(node("odd", "odd@1.0.0"), node("even", "even@1.0.0"), stages, y="both"))
    answer = await whole.own.predict("unlikely", {}, {"x": [0, 1, 2, 3, 4, 5]})
    assert [0, 1, 2, 3, 4, pytest.approx(0.9)] == output(answer)


async def test_classes(whole: Compositions) -> None:
    """Of several classes the most likely tells how sure a stage is, by an output of its own; all outputs are its."""
    classes = np.array([[0.1, 0.8, 0.1], [0.4, 0.3, 0.3], [0.0, 0.0, 1.0]], np.float32)
    await whole.table("quick", classes=classes, label=np.array([b"b", b"a", b"c"], object))
    await whole.table("slow", classes=classes[::-1].copy(), label=np.array([b"C", b"A", b"B"], object))
    stages = cascade("both", ("quick", 0.75), "slow", quick="quick.classes")
    nodes = (node("quick", "quick@1.0.0"), node("slow", "slow@1.0.0"), stages)
    await whole.serve("classes", graph(*nodes, label="both.label", classes="both.classes"))
    answer = await whole.own.predict("classes", {}, {"x": [0, 1, 2]})
    assert ["b", "A", "c"] == output(answer, "label")
    rows = [*classes[0], *classes[1], *classes[2]]
    assert [float(value) for value in rows] == output(answer, "classes")


async def test_confidence_of_another_node(whole: Compositions) -> None:
    """A node may judge the stages, by a value that is no probability; three stages, and what comes after them."""
    scores = {"one": [1.0, 2.0, 3.0], "two": [10.0, 20.0, 30.0], "three": [100.0, 200.0, 300.0]}
    for name, values in scores.items():
        await whole.table(name, y=np.array(values))
    await whole.table("judge", first=np.array([7.0, -2.0, math.nan]), second=np.array([-1.0, 5.0, 4.9]))
    double = Signature((TensorSpec("p", "FP64", ()),), (TensorSpec("y", "FP64", ()),))
    after = await whole.script("double", lambda inputs: {"y": inputs["p"] * 2}, double)
    stages = cascade("all", ("one", 7), ("two", 5), "three", measure="VALUE", one="judge.first", two="judge.second")
    nodes = [node(name, f"{name}@1.0.0") for name in ("one", "two", "three", "judge")]
    await whole.serve("judged", graph(*nodes, stages, node("post", "double@1.0.0", {"p": "all"}), y="post"))
    answer = await whole.own.predict("judged", {}, {"x": [0, 1, 2]})
    assert [2.0, 40.0, 600.0] == output(answer)
    assert [("CHOSEN", [0], "one"), ("CHOSEN", [1], "two"), ("CHOSEN", [2], "three")] == sorted(
        path(answer)["all"], key=lambda step: step[1]
    )
    assert [("COMPUTED", [1, 2], ""), ("SKIPPED", [0], "one")] == sorted(path(answer)["two"])
    assert [("COMPUTED", [2], "")] == [step for step in path(answer)["three"] if step[0] == "COMPUTED"]
    assert [1.0, 20.0, 300.0] == sorted(after.asked("p"))


async def test_stage_that_is_an_ensemble(whole: Compositions) -> None:
    """Its members are asked of the unsure rows alone."""
    doubtful, left, _ = await whole.scripts(
        doubtful=looked_up(0.5, 0.95), left=looked_up(0.2, 0.3), right=looked_up(0.4, 0.5)
    )
    nodes = [node(name, f"{name}@1.0.0") for name in ("doubtful", "left", "right")]
    second = ensemble("second", "MEAN", ["left", "right"])
    await whole.serve("deep", graph(*nodes, second, cascade("both", ("doubtful", 0.9), "second"), y="both"))
    answer = await whole.own.predict("deep", {}, {"x": [2.0, 1.0]})
    assert [pytest.approx(0.95), pytest.approx(0.3)] == output(answer)
    assert ([2.0, 1.0], [1.0]) == (doubtful.asked(), left.asked())
    assert [("COMPUTED", [1], ""), ("SKIPPED", [0], "doubtful")] == sorted(path(answer)["left"])


@pytest.mark.parametrize("stage", ["early", "late"])
async def test_optional_stage_that_fails(whole: Compositions, stage: str) -> None:
    """It is passed over: the next answers, or the one before, unsure as it is. Never a row without an answer."""
    names = {short: f"{short}-when-{stage}-fails" for short in ("early", "late")}
    stages = [node(short, f"{name}@1.0.0", optional=short == stage) for short, name in names.items()]
    models = await whole.scripts(**{names["early"]: looked_up(*EARLY), names["late"]: looked_up(*LATE)})
    await whole.serve(f"shaky-{stage}", graph(*stages, cascade("both", ("early", 0.8), "late"), y="both"))
    with models[stage == "late"].answering(refused):
        answer = await whole.own.predict(f"shaky-{stage}", {}, numbered(6))
    assert pytest.approx(LATE if stage == "early" else EARLY) == output(answer)
    rows = [] if stage == "early" else [row - 1 for row in UNSURE]
    assert [("NODE_FAILED", stage, rows)] == degraded(answer)
    assert ("LEFT_OUT", rows, "RUNTIME_FAILED") in path(answer)[stage]


async def test_required_stage_that_fails(whole: Compositions, late: ScriptedModel, fresh: None) -> None:
    """Rows that need it fail with its reason; those that do not are answered, in the same request."""
    with late.answering(refused):
        answer = await whole.own.predict("sure", {}, numbered(6))
    assert dict.fromkeys((row - 1 for row in UNSURE), "RUNTIME_FAILED") == {
        each.row: status_failure(each.status).reason for each in answer.row_errors
    }
    found = output(answer)
    assert expected(SURE) == [found[row - 1] for row in SURE]
