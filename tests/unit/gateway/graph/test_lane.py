"""Composed versions: what each row's answer is made of, what travels together, and what becomes of failures."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.prediction import DegradationReason
from services.mesh.errors import MeshError, Reason
from tests.support.virtual_time import run_virtually
from tests.support.waiting import eventually
from tests.unit.gateway.graph.compositions import (
    AFTER,
    BROKEN,
    CASCADE,
    DEFAULTED,
    FIRST,
    MEAN,
    MODEL,
    NAN,
    OPTIONAL,
    POISON,
    REFUSED,
    SECOND,
    ScriptedModel,
    ask,
    lane_of,
    numbers,
    path,
)

CHAIN = (
    FIRST
    + """
nodes { name: "then" model { model: "m" version: "1.1.0" inputs { input: "x" sources { node: "first" } } } }
nodes { name: "stack" model { model: "m" version: "2.0.0"
  inputs { input: "x" sources { node: "then" } sources { node: "first" } } } }
outputs { name: "p" source { node: "stack" } }
"""
)


async def test_ensemble_combines_what_its_members_answer() -> None:
    """The mean of both versions, each asked once for all rows."""
    model = ScriptedModel()
    model.shifts = {"1.1.0": 0.1}
    outcome = await ask(lane_of(FIRST + SECOND + MEAN, model), 20, 80)
    assert numbers(outcome) == [0.25, 0.85]
    assert model.rows == {"1.0.0": [2], "1.1.0": [2]}
    assert path(outcome) == [("first", "COMPUTED", [], ""), ("second", "COMPUTED", [], "")]
    assert outcome.runtime == "memory"


async def test_independent_nodes_run_side_by_side() -> None:
    """The second version is asked though the first has not answered."""
    model = ScriptedModel()
    model.hanging = {"1.0.0"}
    waiting = asyncio.create_task(ask(lane_of(FIRST + SECOND + MEAN, model), 20))
    await eventually(lambda: set(model.rows) == {"1.0.0", "1.1.0"})
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_outputs_feed_the_inputs_behind_them() -> None:
    """A chain, and a node that takes two outputs as two elements."""
    outcome = await ask(lane_of(CHAIN, ScriptedModel()), 80)
    assert numbers(outcome) == [round((0.008 + 0.8) / 2 / 100, 4)]
    assert [step.node for step in outcome.nodes] == ["first", "then", "stack"]


async def test_cascade_asks_the_next_stage_only_for_what_is_unsure() -> None:
    """Of one request's rows each takes its own path, and says so."""
    model = ScriptedModel()
    model.shifts = {"1.1.0": -0.25}
    outcome = await ask(lane_of(FIRST + SECOND + CASCADE, model), 95, 60, 10)
    assert numbers(outcome) == [0.95, 0.35, 0.1]
    assert model.rows == {"1.0.0": [3], "1.1.0": [1]}
    assert sorted(path(outcome)) == [
        ("first", "COMPUTED", [], ""),
        ("second", "COMPUTED", [1], ""),
        ("second", "SKIPPED", [0, 2], "first"),
        ("sure", "CHOSEN", [0, 2], "first"),
        ("sure", "CHOSEN", [1], "second"),
    ]


async def test_sure_rows_do_not_wait_for_unsure_ones() -> None:
    """A request that the first stage is sure of is answered while the second hangs, and so are those that come later."""
    model = ScriptedModel()
    model.hanging = {"1.1.0"}
    lane = lane_of(FIRST + SECOND + CASCADE, model)
    unsure, sure = asyncio.create_task(ask(lane, 50)), asyncio.create_task(ask(lane, 95))
    assert numbers(await sure) == [0.95]
    await eventually(lambda: "1.1.0" in model.rows)
    assert numbers(await ask(lane, 3)) == [0.03]
    unsure.cancel()
    await asyncio.gather(unsure, return_exceptions=True)
    await eventually(lambda: model.cancelled == 1)
    await eventually(lambda: lane.idle)


async def test_unsure_rows_of_several_batches_travel_together() -> None:
    """What arrives at a stage while it is busy leaves together as the next call."""
    model = ScriptedModel()
    lane = lane_of(FIRST + SECOND + CASCADE, model)
    outcomes = await asyncio.gather(*(ask(lane, 40 + number % 20) for number in range(40)))
    assert [numbers(outcome) for outcome in outcomes] == [[round(0.4 + number % 20 / 100, 4)] for number in range(40)]
    assert sum(model.rows["1.1.0"]) == 40
    assert len(model.rows["1.1.0"]) < 8


async def test_unsure_rows_wait_for_those_of_the_batch_under_way() -> None:
    """A stage is asked once for the rows of a batch and of the next, which is under way as the first comes back."""
    model = ScriptedModel()
    lane = lane_of(FIRST + SECOND + CASCADE, model)
    model.holding = {"1.0.0"}
    before = asyncio.create_task(ask(lane, 40))
    await eventually(lambda: len(model.held) == 1)
    behind = asyncio.create_task(ask(lane, 45))
    await asyncio.sleep(0)
    model.held.pop(0).set()
    await eventually(lambda: len(model.held) == 1)
    assert "1.1.0" not in model.rows
    model.held.pop(0).set()
    assert [numbers(outcome) for outcome in await asyncio.gather(before, behind)] == [[0.4], [0.45]]
    assert model.rows["1.1.0"] == [2]


async def test_what_takes_from_the_cascade_is_asked_for_all_rows() -> None:
    """Rows come to the node behind the cascade by both ways."""
    model = ScriptedModel()
    outcome = await ask(
        lane_of(FIRST + SECOND + CASCADE.replace('outputs { name: "p" source { node: "sure" } }', "") + AFTER, model),
        95,
        60,
    )
    assert numbers(outcome) == [0.0095, 0.006]
    assert sum(model.rows["1.2.0"]) == 2


async def test_required_node_fails_the_row_and_is_named() -> None:
    """One row's failure leaves the others; the error says which node it was."""
    model = ScriptedModel()
    model.spoilt = {"1.1.0": {7.0: BROKEN}}
    outcome = await ask(lane_of(FIRST + SECOND + MEAN, model), 7, 20)
    assert numbers(outcome) == [0.0, 0.2]
    assert (outcome.row_errors[0].reason, outcome.row_errors[0].metadata["node"]) == (Reason.RUNTIME_FAILED, "second")


async def test_values_that_no_caller_has_sent_are_no_fault_of_his() -> None:
    """What a node does not take of other nodes speaks against the version, as a fallback or a release must know."""
    model = ScriptedModel()
    (given,) = (await ask(lane_of(FIRST + "outputs { name: 'p' source { node: 'first' } }", model), 20)).outputs
    model.spoilt = {"1.0.0": {7.0: REFUSED}, "1.1.0": {float(given[0, 0]): REFUSED}}
    outcome = await ask(lane_of(CHAIN, model), 7, 20, 80)
    assert [Reason.INVALID_ARGUMENT, Reason.INVALID_OUTPUT] == [outcome.row_errors[row].reason for row in (0, 1)]
    assert "node then: " in outcome.row_errors[1].message


async def test_request_fails_at_once_with_its_required_node() -> None:
    """Nobody waits for a node that hangs when another has failed already."""
    model = ScriptedModel()
    model.hanging, model.failing = {"1.0.0"}, {"1.1.0"}
    lane = lane_of(FIRST + SECOND + MEAN, model)
    with pytest.raises(MeshError, match=r"node second: 1\.1\.0 is not loaded") as caught:
        await ask(lane, 7)
    assert caught.value.reason is Reason.VERSION_NOT_LOADED
    await eventually(lambda: model.cancelled == 1)


@pytest.mark.parametrize(("second", "expected", "state"), [(OPTIONAL, 0.2, "LEFT_OUT"), (DEFAULTED, 0.35, "DEFAULTED")])
async def test_optional_node_is_left_out_or_its_defaults_stand_in(second: str, expected: float, state: str) -> None:
    """An ensemble goes on without it, and the answer says so."""
    model = ScriptedModel()
    model.failing = {"1.1.0"}
    outcome = await ask(lane_of(FIRST + second + MEAN, model), 20)
    assert numbers(outcome) == [expected]
    assert path(outcome)[1] == ("second", state, [], "VERSION_NOT_LOADED")
    assert [(found.reason, found.subject) for found in outcome.degradations] == [
        (DegradationReason.NODE_FAILED, "second")
    ]


def test_optional_node_that_hangs_does_not_use_up_the_time() -> None:
    """The answer comes within the deadline, without the node."""

    async def go() -> None:
        model = ScriptedModel()
        model.hanging = {"1.1.0"}
        outcome = await ask(lane_of(FIRST + OPTIONAL + MEAN, model), 20, seconds=0.3)
        assert numbers(outcome) == [0.2]
        assert path(outcome)[1] == ("second", "LEFT_OUT", [], "DEADLINE_EXCEEDED")

    run_virtually(go())


async def test_required_node_that_hangs_uses_up_the_time() -> None:
    """The caller is told when his time is over."""
    model = ScriptedModel()
    model.hanging = {"1.1.0"}
    with pytest.raises(MeshError) as caught:
        await ask(lane_of(FIRST + SECOND + MEAN, model), 20, seconds=0.1)
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED


async def test_caller_in_a_hurry_does_not_cost_the_others_an_optional_node() -> None:
    """A node that answers as quickly as always is waited for, however short the time of a neighbour is."""
    model = ScriptedModel()
    lane = lane_of(FIRST + OPTIONAL + MEAN, model)
    outcomes = await asyncio.gather(
        *(ask(lane, 20, seconds=seconds) for seconds in (5, 0.012, 5)), return_exceptions=True
    )
    patient = [outcome for index, outcome in enumerate(outcomes) if index != 1]
    assert all(not outcome.degradations for outcome in patient if not isinstance(outcome, BaseException))
    assert not any(isinstance(outcome, BaseException) for outcome in patient)


@pytest.mark.parametrize("graph", [FIRST + OPTIONAL + MEAN, FIRST + OPTIONAL + CASCADE], ids=["ensemble", "cascade"])
def test_who_has_little_time_is_answered_in_it_whoever_he_travels_with(graph: str) -> None:
    """Also if that is less than an optional node nearly always takes, which hangs for all of them."""

    async def go() -> None:
        model = ScriptedModel()
        model.hanging = {"1.1.0"}
        lane = lane_of(graph, model)
        times = {60: 5.0, 61: 0.01, 62: 0.004, 63: 0.03, 64: 5.0, 65: 0.015}
        outcomes = await asyncio.gather(*(ask(lane, value, seconds=seconds) for value, seconds in times.items()))
        assert [[value / 100] for value in times] == [numbers(outcome) for outcome in outcomes]
        assert {"DEADLINE_EXCEEDED"} == {cause for outcome in outcomes for _, _, _, cause in path(outcome)[1:2]}

    run_virtually(go())


async def test_unsure_answer_stands_where_an_optional_stage_fails() -> None:
    """The cascade falls back on what the earlier stage has said."""
    model = ScriptedModel()
    model.failing = {"1.1.0"}
    outcome = await ask(lane_of(FIRST + OPTIONAL + CASCADE, model), 60)
    assert numbers(outcome) == [0.6]
    assert ("sure", "CHOSEN", [], "first") in path(outcome)


async def test_next_stage_answers_where_an_optional_stage_fails() -> None:
    """A cheap model that is away is passed over."""
    model = ScriptedModel()
    model.failing = {"1.0.0"}
    first = FIRST.replace('version: "1.0.0"', 'version: "1.0.0" optional: true')
    outcome = await ask(lane_of(first + SECOND + CASCADE, model), 95)
    assert numbers(outcome) == [0.95]
    assert ("sure", "CHOSEN", [], "second") in path(outcome)


async def test_cascade_without_any_answer_fails_with_the_last_cause() -> None:
    """No stage has answered: an error, not a zero."""
    model = ScriptedModel()
    model.failing = {"1.0.0", "1.1.0"}
    first = FIRST.replace('version: "1.0.0"', 'version: "1.0.0" optional: true')
    with pytest.raises(MeshError, match=r"node second: 1\.1\.0 is not loaded"):
        await ask(lane_of(first + OPTIONAL + CASCADE, model), 95)


async def test_confidence_that_is_no_probability_is_not_sure() -> None:
    """NaN, and what lies beyond 1, go to the next stage."""
    model = ScriptedModel()
    model.spoilt = {"1.0.0": {95.0: NAN}}
    outcome = await ask(lane_of(FIRST + SECOND + CASCADE, model), 95, 300)
    assert model.rows["1.1.0"] == [2]
    assert numbers(outcome) == [0.95, 3.0]


async def test_no_number_is_a_failure_of_a_member() -> None:
    """NaN of one member never becomes the ensemble's answer."""
    model = ScriptedModel()
    model.spoilt = {"1.1.0": {20.0: NAN}}
    with pytest.raises(MeshError, match="node second: answered NaN or infinity as p") as caught:
        await ask(lane_of(FIRST + SECOND + MEAN, model), 20)
    assert caught.value.reason is Reason.INVALID_OUTPUT
    outcome = await ask(lane_of(FIRST + OPTIONAL + MEAN, model), 20, 40)
    assert numbers(outcome) == [0.2, 0.4]
    assert path(outcome)[1:] == [("second", "LEFT_OUT", [0], "INVALID_OUTPUT"), ("second", "COMPUTED", [1], "")]


async def test_what_one_request_breaks_is_answered_for_the_others() -> None:
    """A call that fails for what one row holds is made again for each request alone."""
    model = ScriptedModel()
    model.spoilt = {"1.1.0": {7.0: POISON}}
    lane = lane_of(FIRST + SECOND + MEAN, model)
    good, bad, other = await asyncio.gather(ask(lane, 20), ask(lane, 7), ask(lane, 40), return_exceptions=True)
    assert isinstance(bad, MeshError)
    assert not isinstance(good, BaseException)
    assert not isinstance(other, BaseException)
    assert (numbers(good), numbers(other)) == ([0.2], [0.4])


GRAPHS = {
    "ensemble": FIRST + SECOND + MEAN,
    "left out": FIRST + OPTIONAL + MEAN,
    "defaulted": FIRST + DEFAULTED + MEAN,
    "cascade": FIRST + SECOND + CASCADE,
    "optional stage": FIRST + OPTIONAL + CASCADE,
    "behind a cascade": FIRST + SECOND + CASCADE.partition("outputs")[0] + AFTER,
    "chain": CHAIN,
    "in a stage": FIRST
    + SECOND
    + MODEL.format("third", "1.2.0", "")
    + MEAN.partition("outputs")[0]
    + """
nodes { name: "sure" cascade {
  stages { node: "third" confidence { node: "third" } threshold: 0.7 } stages { node: "both" } } }
outputs { name: "p" source { node: "sure" } }
""",
}
values = st.sampled_from([3.0, 7.0, 13.0, 40.0, 60.0, 95.0])


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@settings(deadline=None)
@given(requests=st.lists(st.lists(values, min_size=1, max_size=4), min_size=1, max_size=6))
async def test_nobody_s_answer_depends_on_his_company(graph: str, requests: list[list[float]]) -> None:
    """Whatever rows fail, alone and together each request is answered alike, along the same path."""
    model = ScriptedModel()
    model.spoilt = {"1.0.0": {7.0: BROKEN}, "1.1.0": {13.0: NAN, 60.0: BROKEN}, "1.2.0": {3.0: BROKEN}}
    lane = lane_of(graph, model)
    alone = [await _result(lane, request) for request in requests]
    together = await asyncio.gather(*(_result(lane, request) for request in requests))
    assert together == alone


async def _result(lane: object, request: list[float]) -> object:
    try:
        outcome = await ask(lane, *request)  # type: ignore[arg-type]
    except MeshError as error:
        return error.message
    errors = {row: error.message for row, error in outcome.row_errors.items()}
    return [str(number) for number in numbers(outcome)], errors, sorted(path(outcome)), outcome.runtime
