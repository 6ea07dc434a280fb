"""The fallback ladder: which rows go to which step, in whose time, and what is told of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from predictmesh.gateway.v1 import provenance_pb2
from predictmesh.registry.v1.endpoint_pb2 import OUTCOME_KIND_REGRESSION, Fallback, OutcomePolicy
from services.gateway.convert import encode_prediction
from services.gateway.errors import FAILURES
from services.gateway.ladder.descent import LATER_SHARE, LEAST_VERSION_S, MEMORY_S, MEMORY_SHARE, MOST_MEMORY_SHARE
from services.gateway.ladder.steps import VersionStep
from services.gateway.prediction import DegradationReason, FeatureState, Inference, Prediction
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, DeadlineExceeded, MeshError, Reason
from services.mesh.resilience import CircuitOpen
from tests.support.predictions import StoredRow, column, version
from tests.support.virtual_time import run_virtually
from tests.support.waiting import eventually
from tests.unit.gateway.ladder.ladders import FULL, LAST_ANSWER, SIMPLE, VERSIONS, LadderWorld, broken, scores, static

SIMPLER, SIMPLEST = Fallback(version="1.5.0"), Fallback(version="1.0.0")


def path(prediction: Prediction) -> list[tuple[str, str, list[int], str]]:
    """Return each step that was tried: what it is, its version, the rows that it answered, and why it left others."""
    return [
        (step.kind.name, step.version, step.answered, step.left.reason if step.left else "")
        for step in prediction.ladder
    ]


def fallback_rows(step: str) -> float:
    """Return how many rows of endpoint m a step has answered."""
    labels = {"endpoint": "m", "step": step}
    return REGISTRY.get_sample_value("predictmesh_fallback_rows_total", labels) or 0


async def test_ladder_that_is_not_needed() -> None:
    """Nothing is told of it, and no step is asked, nor kept ready."""
    world = LadderWorld(SIMPLER, LAST_ANSWER, static(0.5))
    answer = await world.predict("a", "b")
    assert ([101.0, 102.0], []) == (scores(answer), path(answer))
    assert [] == answer.outcome.degradations
    assert [("2.0.0", 2)] == world.asked
    assert {"2.0.0"} == {target.version for target in world.flow._lanes._lanes}


async def test_simpler_version_answers_at_once() -> None:
    """The reply names the step, and why the version before it was left."""
    world = LadderWorld(SIMPLER, static(0.5))
    before = fallback_rows("version 1.5.0")
    world.failing["2.0.0"] = broken()
    answer = await world.predict("a", "b")
    assert [1.0, 2.0] == scores(answer)
    assert [
        ("ROUTE", "2.0.0", [], Reason.RUNTIME_FAILED),
        ("VERSION", "1.5.0", [0, 1], ""),
    ] == path(answer)
    (told,) = answer.outcome.degradations
    assert (DegradationReason.FALLBACK, "version 1.5.0", []) == (told.reason, told.subject, told.rows)
    assert 2 == fallback_rows("version 1.5.0") - before
    made = encode_prediction(answer).provenance
    assert ("1.5.0", provenance_pb2.ROUTE_REASON_FALLBACK, "memory") == (made.version, made.route_reason, made.runtime)
    assert [("rider", 1)] == [(view.view, view.oldest_age_ms) for view in made.views]
    assert ["queue", "features", "model"] == [hop.name for hop in made.hops]


@pytest.mark.parametrize("code", sorted(FAILURES))
async def test_every_failure_that_is_not_the_callers(code: Code) -> None:
    """Whatever speaks against a version is a reason to leave it."""
    world = LadderWorld(SIMPLER)
    world.failing["2.0.0"] = broken(code)
    assert [1.0] == scores(await world.predict("a"))


@pytest.mark.parametrize("code", sorted(set(Code) - FAILURES - {Code.OK}))
async def test_what_callers_have_done_wrong_fails(code: Code) -> None:
    """No other version is asked what was wrong to ask."""
    world = LadderWorld(SIMPLER, static(0.5))
    world.failing["2.0.0"] = broken(code, Reason.INVALID_ARGUMENT)
    with pytest.raises(MeshError) as caught:
        await world.predict("a")
    assert "it broke" == caught.value.message
    with pytest.raises(MeshError, match="empty"):
        await world.predict("")
    assert [("2.0.0", 1)] == world.asked


async def test_only_failed_rows_go_on() -> None:
    """They come back into their places; the others are answered as without a ladder."""
    world = LadderWorld(SIMPLER)
    world.failed_rows["2.0.0"] = {1: Code.INTERNAL, 3: Code.UNAVAILABLE}
    answer = await world.predict("a", "b", "c", "d")
    assert [101.0, 2.0, 103.0, 4.0] == scores(answer)
    assert {} == answer.outcome.row_errors
    assert [("2.0.0", 4), ("1.5.0", 2)] == world.asked
    assert [
        ("ROUTE", "2.0.0", [0, 2], Reason.RUNTIME_FAILED),
        ("VERSION", "1.5.0", [1, 3], ""),
    ] == path(answer)
    assert [(DegradationReason.FALLBACK, "version 1.5.0", [1, 3])] == [
        (found.reason, found.subject, found.rows) for found in answer.outcome.degradations
    ]
    made = encode_prediction(answer).provenance
    assert ("2.0.0", provenance_pb2.ROUTE_REASON_ENDPOINT_VERSION) == (made.version, made.route_reason)
    assert [3] == [view.oldest_age_ms for view in made.views]


async def test_each_step_leaves_rows_to_the_next() -> None:
    """A step that fails partly is left partly; what remains has the static answer."""
    world = LadderWorld(SIMPLER, SIMPLEST, LAST_ANSWER, static(0.5))
    await world.predict("c")
    world.failing["2.0.0"] = broken()
    # Of a, b, c, d it answers b; and of the rest, a, c, d, the next one answers a.
    world.failed_rows["1.5.0"] = dict.fromkeys((0, 2, 3), Code.INTERNAL)
    world.failed_rows["1.0.0"] = dict.fromkeys((1, 2), Code.INTERNAL)
    answer = await world.predict("a", "b", "c", "d")
    assert [1.0, 2.0, 103.0, 0.5] == scores(answer)
    assert [
        ("ROUTE", "2.0.0", [], Reason.RUNTIME_FAILED),
        ("VERSION", "1.5.0", [1], Reason.RUNTIME_FAILED),
        ("VERSION", "1.0.0", [0], Reason.RUNTIME_FAILED),
        ("LAST_ANSWER", "2.0.0", [2], Reason.NO_LAST_ANSWER),
        ("ANSWER", "", [3], ""),
    ] == path(answer)
    assert {"version 1.5.0": [1], "version 1.0.0": [0], "last_answer": [2], "answer": [3]} == {
        found.subject: found.rows for found in answer.outcome.degradations
    }
    # No one version answered every row, so whose ages and views would they be?
    made = encode_prediction(answer).provenance
    assert ([], "2.0.0") == (list(made.views), made.version)


async def test_rows_that_are_the_callers_fault_stay_failed() -> None:
    """Also where every row has failed, and whichever comes first."""
    for own in (0, 1):
        world = LadderWorld(SIMPLER)
        world.failed_rows["2.0.0"] = {own: Code.INVALID_ARGUMENT, 1 - own: Code.INTERNAL}
        answer = await world.predict("a", "b")
        assert {own: Reason.INVALID_ARGUMENT} == {row: error.reason for row, error in answer.outcome.row_errors.items()}
        assert [("ROUTE", [], Reason.RUNTIME_FAILED), ("VERSION", [1 - own], "")] == [
            (kind, rows, left) for kind, _, rows, left in path(answer)
        ]
        assert 1.0 + (1 - own) == scores(answer)[1 - own]


async def test_nobody_answers() -> None:
    """The error is that of the route's version; it names the steps, and what they failed with."""
    world = LadderWorld(SIMPLER, LAST_ANSWER)
    before = fallback_rows("none")
    error = broken()
    world.failing = {"2.0.0": error, "1.5.0": broken(Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED)}
    with pytest.raises(MeshError) as caught:
        await world.predict("a", "b")
    assert (Code.INTERNAL, Reason.RUNTIME_FAILED) == (caught.value.code, caught.value.reason)
    tried = "version 1.5.0 (VERSION_NOT_LOADED), last_answer (NO_LAST_ANSWER)"
    assert f"it broke; no fallback has an answer either: {tried}" == str(caught.value) == caught.value.message
    assert "it broke" == error.message
    assert 2 == fallback_rows("none") - before


async def test_rows_that_nobody_answers() -> None:
    """They fail as without a ladder, which says what was tried."""
    world = LadderWorld(SIMPLER)
    world.failed_rows = {"2.0.0": {1: Code.INTERNAL}, "1.5.0": {0: Code.UNAVAILABLE}}
    answer = await world.predict("a", "b")
    assert {1: Reason.RUNTIME_FAILED} == {row: error.reason for row, error in answer.outcome.row_errors.items()}
    assert [101.0, 0.0] == scores(answer)
    assert ("VERSION", "1.5.0", [], Reason.UPSTREAM_UNAVAILABLE) == path(answer)[1]
    assert [] == answer.outcome.degradations


async def test_named_version_has_no_fallback() -> None:
    """Who names a version wants that one; and who asks for an explanation wants to know what it got."""
    world = LadderWorld(SIMPLER)
    world.failing["2.0.0"] = broken()
    for parts in ({"pin": "2.0.0"}, {"explain": True}):
        with pytest.raises(MeshError, match=r"^it broke$"):
            await world.predict("a", **parts)


async def test_version_is_no_step_of_its_own_ladder() -> None:
    """Where weights lead to the fallback itself, the steps after it answer."""
    world = LadderWorld(SIMPLEST, static(0.5), route=[("1.0.0", 50.0), ("2.0.0", 50.0)])
    world.failing = {"1.0.0": broken(), "2.0.0": broken()}
    found = {tuple(path(await world.predict("a", prediction_id=str(number)))[0][:2]) for number in range(40)}
    assert {("ROUTE", "1.0.0"), ("ROUTE", "2.0.0")} == found
    assert 40 > world.asked.count(("1.0.0", 1)) - world.asked.count(("2.0.0", 1)) >= 0


async def test_step_that_does_not_take_the_request() -> None:
    """A version that moved on under its alias is left with what it lacks."""
    versions = [*VERSIONS[1:], version({"x:FP32": ["new"]}, number="1.0.0", digest="new")]
    world = LadderWorld(SIMPLEST, static(0.5), versions=versions)
    world.failing["2.0.0"] = broken()
    answer = await world.predict("a")
    assert ("VERSION", "1.0.0", [], Reason.UNKNOWN_ENTITY) == path(answer)[1]
    assert [0.5] == scores(answer)


async def test_outputs_come_in_the_order_of_the_routes_version() -> None:
    """A step may have more outputs, in another order."""
    versions = [
        version(FULL, ("p:FP32:2", "y:FP32"), number="2.0.0", digest="2"),
        version(SIMPLE, ("z:INT64", "y:FP32", "p:FP32:2"), number="1.5.0", digest="15"),
    ]
    world = LadderWorld(SIMPLER, versions=versions)
    world.failed_rows["2.0.0"] = {1: Code.INTERNAL}
    outputs = (await world.predict("a", "b")).outcome.outputs
    assert [[[101.0, 101.0], [2.0, 2.0]], [[101.0], [2.0]]] == [output.tolist() for output in outputs]


async def test_degradations_are_those_of_the_answers() -> None:
    """What a version tells of a row that another one answered concerns nobody."""
    world = LadderWorld(SIMPLER)
    stale = StoredRow({"rider:a": 1.0}, states={"rider": FeatureState.STALE_SERVED})
    world.features.rows = {**world.features.rows, "old": stale}
    world.failed_rows["2.0.0"] = {1: Code.INTERNAL, 2: Code.INTERNAL}
    world.failed_rows["1.5.0"] = {0: Code.INTERNAL}
    answer = await world.predict("old", "old", "old", "a")
    found = {found.reason.name: found.rows for found in answer.outcome.degradations}
    assert {"FEATURE_STALE_SERVED": [0, 1, 2], "FALLBACK": [2]} == found


async def test_breaker_that_is_open_is_a_failure_like_any_other() -> None:
    """Nothing is waited for."""
    world = LadderWorld(LAST_ANSWER)
    await world.predict("a")
    world.failing["2.0.0"] = CircuitOpen("open")
    answer = await world.predict("a")
    assert [101.0] == scores(answer)
    assert ("LAST_ANSWER", "2.0.0", [0], "") == path(answer)[1]
    assert answer.ladder[1].age_ms is not None
    assert encode_prediction(answer).provenance.version == "2.0.0"


async def test_too_much_waits_for_the_version() -> None:
    """A request that finds its queue full is answered by the steps that have room."""
    world = LadderWorld(SIMPLER)
    # Of 8 rows each, where 100 may wait.
    answers = await asyncio.gather(*(world.predict(*"abcdefgh") for _ in range(13)))
    assert [()] * 12 == [answer.ladder for answer in answers[:12]]
    assert [("ROUTE", "2.0.0", [], Reason.OVERLOADED), ("VERSION", "1.5.0", [*range(8)], "")] == path(answers[12])


def test_hung_version_costs_its_share() -> None:
    """The next version has the time that its batches are known to take, and the caller his answer in time."""

    async def main() -> tuple[Prediction, float, list[str]]:
        world = LadderWorld(SIMPLER, static(0.5))
        world.hung = {"2.0.0"}
        start = time.monotonic()
        answer = await world.predict("a")
        await asyncio.sleep(0)
        return answer, time.monotonic() - start, world.left

    answer, seconds, left = run_virtually(main())
    assert [("ROUTE", Reason.DEADLINE_EXCEEDED), ("VERSION", "")] == [(kind, why) for kind, _, _, why in path(answer)]
    assert answer.ladder[0].left is not None
    assert "no answer within 850 ms, its share of the deadline" == answer.ladder[0].left.message
    assert 0.85 == pytest.approx(seconds, abs=0.005)
    assert ["2.0.0"] == left


def test_what_an_outage_has_taught_is_forgotten() -> None:
    """Nobody asks the fallback of a version that is well, so that it could not show that it is well again, too."""

    async def main() -> list[str]:
        world = LadderWorld(SIMPLER, static(0.5))
        world.hung = {"2.0.0", "1.5.0"}
        answers = [await world.predict("a") for _ in range(100)]
        await asyncio.sleep(60)
        answers.append(await world.predict("a"))
        return [answer.ladder[0].left.message for answer in answers if answer.ladder[0].left]

    *_, taught, forgotten = run_virtually(main())
    assert "no answer within 475 ms, its share of the deadline" == taught
    assert "no answer within 850 ms, its share of the deadline" == forgotten


@pytest.mark.parametrize("seconds", [0.001, 0.004, 0.02, 0.1])
def test_deadline_that_is_shorter_than_the_shares(seconds: float) -> None:
    """Each version has at least half of what is left, and the memory answers in the end."""

    async def main() -> tuple[Prediction, float]:
        world = LadderWorld(SIMPLER, static(0.5))
        world.hung = {"2.0.0", "1.5.0"}
        start = time.monotonic()
        answer = await world.predict("a", deadline=Deadline.after(seconds))
        return answer, time.monotonic() - start

    answer, took = run_virtually(main())
    assert [0.5] == scores(answer)
    assert took <= seconds
    assert answer.ladder[0].left is not None
    assert answer.ladder[0].left.reason is Reason.DEADLINE_EXCEEDED


def test_shares_are_learnt_and_bounded() -> None:
    """A version that is known to be quick is left little, one that is known to be slow half at most."""
    world = LadderWorld(SIMPLER, static(0.5))
    ladder = world.flow._ladder
    ((target, steps),) = world.flow.table.endpoint("m").fallbacks.items()
    assert isinstance(steps[0], VersionStep)
    lane = world.flow._lanes.of(steps[0].target)
    for p99_s, later_s in ((0.02, 2 * 0.02), (0.0001, LEAST_VERSION_S), (9.0, 0.95 * LATER_SHARE)):
        lane._coalescer._durations.value = p99_s
        assert 0.95 - later_s == pytest.approx(ladder._share(target, 1.0, steps, 0.05))
    assert 0.95 == ladder._share(target, 1.0, steps[1:], 0.05)
    assert 1.0 == ladder._share(target, 1.0, (), 0.05)


def test_version_that_is_well_has_the_time_that_it_needs() -> None:
    """Whatever later ones may: half of a short deadline would not do for nearly all of its answers."""

    async def main() -> list[Prediction]:
        world = LadderWorld(SIMPLER, static(0.5))
        compute = world.model.infer

        async def slowly(*request: Any) -> Inference:
            await asyncio.sleep(0.025)
            return await compute(*request)

        world.model.infer = slowly  # type: ignore[assignment, method-assign]
        return [await world.predict("a", deadline=Deadline.after(0.05)) for _ in range(50)]

    assert [()] * 50 == [answer.ladder for answer in run_virtually(main())]


@pytest.mark.parametrize(
    ("seconds", "kept_s"), [(1.0, MEMORY_SHARE), (0.08, MEMORY_S), (0.02, 0.02 * MOST_MEMORY_SHARE)]
)
def test_some_time_is_kept_for_the_answer_on_its_way(seconds: float, kept_s: float) -> None:
    """However many versions have used up theirs."""

    async def main() -> float:
        world = LadderWorld(SIMPLER, SIMPLEST, static(0.5))
        world.hung = {"2.0.0", "1.5.0", "1.0.0"}
        start = time.monotonic()
        await world.predict("a", deadline=Deadline.after(seconds))
        return time.monotonic() - start

    assert seconds - kept_s == pytest.approx(run_virtually(main()), abs=0.002)


async def test_deadline_that_had_passed_before() -> None:
    """Who has no time when he comes is not answered by anybody."""
    world = LadderWorld(SIMPLER, static(0.5))
    with pytest.raises(DeadlineExceeded, match="had passed"):
        await world.predict("a", deadline=Deadline.after(-1))
    assert [] == world.asked


async def test_cancelled_caller_leaves_the_step() -> None:
    """Nobody computes for nobody, on whichever step."""
    world = LadderWorld(SIMPLER)
    world.failing["2.0.0"] = broken()
    world.hung = {"1.5.0"}
    caller = asyncio.create_task(world.predict("a"))
    await eventually(lambda: ("1.5.0", 1) in world.asked)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    await eventually(lambda: world.left == ["1.5.0"])
    await eventually(lambda: world.flow.idle)


async def test_requests_fall_back_together() -> None:
    """What fails together coalesces on the next step too."""
    world = LadderWorld(SIMPLER)
    world.failing["2.0.0"] = broken(Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED)
    answers = await asyncio.gather(*(world.predict(rider) for rider in "abcd"))
    assert [1.0, 2.0, 3.0, 4.0] == [scores(answer)[0] for answer in answers]
    assert [("2.0.0", 4), ("1.5.0", 4)] == world.asked


async def test_step_whose_version_is_gone_meanwhile() -> None:
    """It answers nevertheless, and leaves nothing behind."""
    world = LadderWorld(SIMPLER)
    world.failing["2.0.0"] = broken()
    world.features.gate.clear()
    caller = asyncio.create_task(world.predict("a"))
    await eventually(lambda: world.features.calls != [])
    world.define(versions=VERSIONS[2:])
    world.features.gate.set()
    assert [1.0] == scores(await caller)
    assert {"2.0.0"} == {target.version for target in world.flow._lanes._lanes}


async def test_columns_of_all_kinds_go_to_the_next_step() -> None:
    """Request features with several values a row, nulls and a shape are cut to the rows that go on."""
    bound = {"x:FP32": ["rider:a"], "box:FP32:2": ["box"], "n:FP32": ["hour"]}
    versions = [version(bound, number=number, digest=number) for number in ("1.5.0", "2.0.0")]
    world = LadderWorld(SIMPLER, versions=versions)
    features = [
        column("box", *[1.0, 2.0, 10.0, 20.0, 100.0, 200.0], shape=[3, 2]),
        column("hour", 0.0, 0.25, 0.5, nulls=[0]),
    ]
    whole = await world.predict("a", "b", "c", features=features)
    world.failed_rows["2.0.0"] = {1: Code.INTERNAL, 2: Code.INTERNAL}
    answer = await world.predict("a", "b", "c", features=features)
    assert scores(whole)[1:] == scores(answer)[1:] == [32.25, 303.5]
    assert [1, 2] == path(answer)[1][2]


async def test_inputs_are_captured_of_the_version_that_answered() -> None:
    """All rows' inputs by one version, whichever it was; none if it was several."""
    policy = OutcomePolicy(output="y", kind=OUTCOME_KIND_REGRESSION, capture_percent=100)
    world = LadderWorld(SIMPLER, static(0.5), outcomes=policy)
    world.failed_rows["2.0.0"] = {1: Code.INTERNAL}
    mixed = (await world.predict("a", "b")).outcome.explanation
    assert mixed is not None
    assert 2 == len(mixed.arrays)
    world.failing["2.0.0"] = broken()
    simple = (await world.predict("a", "b")).outcome.explanation
    assert simple is not None
    assert [[[0.0], [1.0]]] == [array.tolist() for array in simple.arrays]
    world.failed_rows["1.5.0"] = {1: Code.INTERNAL}
    assert (await world.predict("a", "b")).outcome.explanation is None


Row = tuple[Code | None, Code | None, Code | None]
CODES = st.sampled_from([None, Code.INTERNAL, Code.UNAVAILABLE, Code.INVALID_ARGUMENT])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(st.lists(st.tuples(CODES, CODES, CODES), min_size=1, max_size=8), st.booleans())
def test_each_row_has_the_answer_of_the_first_step_that_has_one(rows: list[Row], ends: bool) -> None:
    """Whatever fails wherever; rows that are the caller's fault, and those that nobody answers, keep their first error."""
    wanted = [_wanted(row, place, ends=ends) for place, row in enumerate(rows)]
    found = asyncio.run(_found(rows, ends=ends))
    if all(isinstance(each, Code) for each in wanted):
        assert wanted[0] is found
        return
    assert isinstance(found, Prediction)
    errors = found.outcome.row_errors
    assert wanted == [errors[row].code if row in errors else score for row, score in enumerate(scores(found))]
    if found.ladder:
        answered = sorted(row for step in found.ladder for row in step.answered)
        assert [row for row, each in enumerate(wanted) if not isinstance(each, Code)] == answered


def _wanted(row: Row, place: int, *, ends: bool) -> float | Code:
    """Return the score or the error of a row whose three versions fail it so."""
    if row[0] is None:
        return 101.0 + place
    if row[0] in FAILURES and None in row:
        return 1.0 + place
    return 0.5 if row[0] in FAILURES and ends else row[0]


async def _found(rows: list[Row], *, ends: bool) -> Prediction | Code:
    world = LadderWorld(*[SIMPLER, SIMPLEST, static(0.5)][: 3 if ends else 2])
    asked = list(range(len(rows)))
    for place, number in enumerate(("2.0.0", "1.5.0", "1.0.0")):
        codes = [rows[row][place] for row in asked]
        world.failed_rows[number] = {index: code for index, code in enumerate(codes) if code is not None}
        asked = [row for row, code in zip(asked, codes, strict=True) if code and (place or code in FAILURES)]
    try:
        return await world.predict(*"abcdefgh"[: len(rows)])
    except MeshError as error:
        return error.code
