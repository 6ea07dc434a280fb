"""Fallback ladders end to end, of plain and composed versions: which step answers, and what it says of those before it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
import pytest_asyncio

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.gateway.v1.provenance_pb2 import (
    ROUTE_REASON_ENDPOINT_VERSION,
    ROUTE_REASON_FALLBACK,
    ROUTE_REASON_PINNED,
    LadderStepKind,
)
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1 import release_service_pb2 as release_pb
from predictmesh.registry.v1.endpoint_pb2 import Fallback, StaticAnswer
from predictmesh.registry.v1.release_pb2 import ErrorRateGuard, LatencyGuard, ReleasePlan
from services.model.versions import Signature, TensorSpec
from tests.support.scripted_models import Arrays, ScriptedModel, refused
from tests.worlds.compositions import Compositions, degraded, looked_up, output, path
from tests.worlds.failures import failure, status_failure
from tests.worlds.graphs import cascade, ensemble, graph, node
from tests.worlds.resources import field, tensor, view
from tests.worlds.sandbox import TIMEOUT_S, Sandbox, eventually

PLAIN, SIMPLER, BEST = (0.11, 0.12, 0.13), (0.21, 0.22, 0.23), (0.9, 0.5, 0.3)
STATIC = StaticAnswer(outputs=[tensor("y", [0.5])])
BROUGHT_S = 1.5
# What a step is, of which version, the rows that it answered, and why it left others.
Step = tuple[str, str, list[int], str]
# A request of three rows: riders with the numbers of their rows.
RIDERS = ["one", "two", "three"]


def steps(*texts: str) -> list[Fallback]:
    """`last` is the last answer of a minute, `static` the static one, anything else a version."""
    made = {"last": Fallback(last_answer_max_age_ms=60_000), "static": Fallback(answer=STATIC)}
    return [made.get(text) or Fallback(version=text) for text in texts]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def models(whole: Compositions) -> dict[str, ScriptedModel]:
    """Model `score`: 1.0.0 simple, 2.0.0 plain; 3.0.0 a cascade of `quick` and the mean of `left` and `right`."""
    own = whole.own
    await own.view(view("rider", field("number"), entity="rider", keys={"rider_id": "STRING"}))
    await own.write("rider", {"rider_id": RIDERS}, {"number": [1.0, 2.0, 3.0]})
    signature = Signature((TensorSpec("x", "FP32", ()),), (TensorSpec("y", "FP32", ()),))
    made = {}
    answers = {"quick-1": BEST, "left-1": PLAIN, "right-1": SIMPLER, "score-1": SIMPLER, "score-2": PLAIN}
    for label, values in answers.items():
        name, major = label.split("-")
        made[label] = model = whole.server.add(own.full(label).replace("/", "-"), looked_up(*values), signature)
        await own.model(name)
        target = whole.server.target(model.name)
        await own.register_at(target, name, f"{major}.0.0", signature, {"x": ["rider:number"]})
        await own.until_runtime(name, f"{major}.0.0")
    nodes = [node(name, f"{name}@1.0.0") for name in ("quick", "left", "right")]
    late = ensemble("late", "MEAN", ["left", "right"])
    await own.compose("score", "3.0.0", graph(*nodes, late, cascade("both", ("quick", 0.8), "late"), y="both"))
    return made


def expected(version: str) -> list[float]:
    """What a version makes of the three rows."""
    if version == "3.0.0":
        means = [(one + other) / 2 for one, other in zip(PLAIN, SIMPLER, strict=True)]
        return [BEST[0], means[1], means[2]]
    return list({"1.0.0": SIMPLER, "2.0.0": PLAIN}[version])


def near(values: list[float]) -> object:
    """Equal but for rounding to FP32."""
    return pytest.approx(values, rel=1e-6)


async def ask(own: Sandbox, endpoint: str, **parts: Any) -> gateway_pb.PredictResponse:
    """Ask for all three."""
    request = own.request(endpoint, {"rider_id": RIDERS}, **parts)
    return await own.mesh.gateway.Predict(request, timeout=BROUGHT_S)


def ladder(answer: gateway_pb.PredictResponse) -> list[Step]:
    """Each step that was tried."""
    return [
        (
            LadderStepKind.Name(step.kind).removeprefix("LADDER_STEP_KIND_"),
            step.version,
            list(step.answered_rows),
            step.reason,
        )
        for step in answer.provenance.ladder
    ]


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def well(whole: Compositions, models: dict[str, ScriptedModel]) -> None:
    """Every model is what it should be, as soon as the model service has tried those again that were not."""
    for label in models:
        name, major = label.split("-")
        await whole.own.until_runtime(name, f"{major}.0.0")


ALL = [0, 1, 2]


@pytest.mark.parametrize("route", ["2.0.0", "3.0.0"])
async def test_nothing_fails(whole: Compositions, models: dict[str, ScriptedModel], route: str) -> None:
    """The route's version answers, and no step is told of."""
    name = f"well-{route[0]}"
    await whole.own.endpoint(name, "score", version=route, fallbacks=steps("1.0.0", "last", "static"))
    answer = await ask(whole.own, name)
    assert near(expected(route)) == output(answer)
    assert (route, ROUTE_REASON_ENDPOINT_VERSION) == (answer.provenance.version, answer.provenance.route_reason)
    assert ([], []) == (ladder(answer), degraded(answer))


# The model that is broken of a route, by what makes each step's turn come.
BROKEN = {"2.0.0": "score-2", "3.0.0": "quick-1"}
FAILED = "VERSION_NOT_LOADED"


@pytest.mark.parametrize("route", BROKEN)
async def test_each_step_in_turn(whole: Compositions, models: dict[str, ScriptedModel], route: str) -> None:
    """A version, the last answer, and the static one, each when all before it have failed; the reply names all."""
    own, name = whole.own, f"turns-{route[0]}"
    await own.endpoint(name, "score", version=route, fallbacks=steps("1.0.0", "last", "static"))
    await own.endpoint(f"{name}-new", "score", version=route, fallbacks=steps("1.0.0", "last", "static"))
    assert near(expected(route)) == output(await ask(own, name))
    with models[BROKEN[route]].failing(grpc.StatusCode.INTERNAL):
        second = await ask(own, name)
        with models["score-1"].failing(grpc.StatusCode.INTERNAL):
            third, fourth = await ask(own, name), await ask(own, f"{name}-new")
    failed: Step = ("ROUTE", route, [], FAILED)
    simpler: Step = ("VERSION", "1.0.0", [], FAILED)
    assert near(expected("1.0.0")) == output(second)
    assert [failed, ("VERSION", "1.0.0", ALL, "")] == ladder(second)
    assert [("FALLBACK", "version 1.0.0", [])] == degraded(second)
    assert ("1.0.0", ROUTE_REASON_FALLBACK) == (second.provenance.version, second.provenance.route_reason)
    assert near(expected(route)) == output(third)
    assert [failed, simpler, ("LAST_ANSWER", route, ALL, "")] == ladder(third)
    assert [("FALLBACK", "last_answer", [])] == degraded(third)
    assert third.provenance.ladder[2].age_ms >= 0
    assert [0.5] * 3 == output(fourth)
    assert [failed, simpler, ("LAST_ANSWER", "", [], "NO_LAST_ANSWER"), ("ANSWER", "", ALL, "")] == ladder(fourth)
    assert ("", ROUTE_REASON_FALLBACK) == (fourth.provenance.version, fourth.provenance.route_reason)
    assert all(step.message for step in fourth.provenance.ladder[:3])


async def test_rows_that_fail_go_down_alone(whole: Compositions, models: dict[str, ScriptedModel]) -> None:
    """A row of the cascade's later stage, say; each row is answered by the first step that can, and told so."""
    own = whole.own
    await own.endpoint("by-row", "score", version="3.0.0", fallbacks=steps("1.0.0", "static"))

    def not_two(inputs: Arrays) -> Arrays:
        return refused(inputs) if 2 in inputs["x"] else models["left-1"].answer(inputs)

    with models["left-1"].answering(not_two):
        answer = await ask(own, "by-row")
    rows = [expected("3.0.0")[0], SIMPLER[1], expected("3.0.0")[2]]
    assert near(rows) == output(answer)
    assert not answer.row_errors
    assert [("ROUTE", "3.0.0", [0, 2], "RUNTIME_FAILED"), ("VERSION", "1.0.0", [1], "")] == ladder(answer)
    assert [("FALLBACK", "version 1.0.0", [1])] == degraded(answer)
    assert ("3.0.0", ROUTE_REASON_ENDPOINT_VERSION) == (answer.provenance.version, answer.provenance.route_reason)
    assert ("CHOSEN", [2], "late") in path(answer)["both"]


@pytest.mark.parametrize("route", BROKEN)
async def test_version_that_hangs(whole: Compositions, models: dict[str, ScriptedModel], route: str) -> None:
    """It is given up while there is time for the next one, so that the caller has an answer within his deadline."""
    own, name = whole.own, f"hung-{route[0]}"
    await own.endpoint(name, "score", version=route, fallbacks=steps("1.0.0", "static"))
    started = time.monotonic()
    with models[BROKEN[route]].hanging():
        answer = await ask(own, name)
    assert time.monotonic() - started < BROUGHT_S
    assert near(list(SIMPLER)) == output(answer)
    assert [("ROUTE", route, [], "DEADLINE_EXCEEDED"), ("VERSION", "1.0.0", ALL, "")] == ladder(answer)
    assert sum(step.duration_us for step in answer.provenance.ladder) < BROUGHT_S * 1e6


async def test_everything_hangs(whole: Compositions, models: dict[str, ScriptedModel]) -> None:
    """The static answer comes in time even so."""
    own = whole.own
    await own.endpoint("all-hang", "score", version="2.0.0", fallbacks=steps("3.0.0", "1.0.0", "static"))
    with models["score-2"].hanging(), models["quick-1"].hanging(), models["score-1"].hanging():
        answer = await ask(own, "all-hang")
    assert [0.5] * 3 == output(answer)
    assert ["ROUTE", "VERSION", "VERSION", "ANSWER"] == [step[0] for step in ladder(answer)]


async def test_version_that_is_loaded_nowhere(whole: Compositions, models: dict[str, ScriptedModel]) -> None:
    """It is left at once, plain or as a node of a composed one."""
    own, target = whole.own, whole.server.target("nobody")
    signature = models["score-1"].signature
    await own.register_at(target, "score", "4.0.0", signature, {"x": ["rider:number"]})
    nodes = (node("absent", "score@4.0.0"), node("there", "score@2.0.0"))
    await own.compose("score", "5.0.0", graph(*nodes, ensemble("both", "MEAN", ["absent", "there"]), y="both"))
    for route in ("4.0.0", "5.0.0"):
        name = f"absent-{route[0]}"
        await own.endpoint(name, "score", version=route, fallbacks=steps("1.0.0"), allow_unready=True)
        answer = await ask(own, name)
        assert near(list(SIMPLER)) == output(answer)
        assert [("ROUTE", route, [], FAILED), ("VERSION", "1.0.0", ALL, "")] == ladder(answer)
        assert answer.provenance.ladder[0].duration_us < BROUGHT_S * 1e5


async def test_composed_version_stands_in(whole: Compositions, models: dict[str, ScriptedModel]) -> None:
    """With its own path, and its own optional answers."""
    own = whole.own
    await own.endpoint("stands-in", "score", version="2.0.0", fallbacks=steps("3.0.0"))
    with models["score-2"].failing(grpc.StatusCode.INTERNAL):
        answer = await ask(own, "stands-in")
    assert near(expected("3.0.0")) == output(answer)
    assert [("SKIPPED", [0], "quick"), ("COMPUTED", [1, 2], "")] == sorted(path(answer)["left"], reverse=True)
    assert "3.0.0" == answer.provenance.version


async def test_every_step_fails(whole: Compositions, models: dict[str, ScriptedModel]) -> None:
    """The caller is told of the route's failure, and that no other had an answer."""
    own = whole.own
    await own.endpoint("hopeless", "score", version="3.0.0", fallbacks=steps("1.0.0", "last"))
    with models["quick-1"].answering(refused), models["score-1"].failing(grpc.StatusCode.UNAVAILABLE):
        found = await failure(ask(own, "hopeless"))
    assert ("INTERNAL", "RUNTIME_FAILED") == (found.code, found.reason)
    assert "quick" in found.message
    assert "version 1.0.0 (VERSION_NOT_LOADED), last_answer (NO_LAST_ANSWER)" in found.message


async def test_callers_faults_and_pins_stay_at_the_route(whole: Compositions, models: dict[str, ScriptedModel]) -> None:
    """No step is taken for what a caller has done wrong, nor for a version that he has named."""
    own = whole.own
    await own.endpoint("strict", "score", version="2.0.0", fallbacks=steps("1.0.0", "static"))
    assert "MISSING_KEY" == (await failure(own.predict("strict", {}))).reason
    with models["score-2"].failing(grpc.StatusCode.INTERNAL):
        assert FAILED == (await failure(ask(own, "strict", version="2.0.0"))).reason
    pinned = await ask(own, "strict", version="1.0.0")
    assert (ROUTE_REASON_PINNED, []) == (pinned.provenance.route_reason, ladder(pinned))


async def test_last_answers_are_of_their_keys(whole: Compositions, models: dict[str, ScriptedModel]) -> None:
    """A rider who has not been answered before has none; the others have theirs, in the order that they are asked in."""
    own = whole.own
    await own.endpoint("keys", "score", version="2.0.0", fallbacks=steps("last"))
    await ask(own, "keys")
    with models["score-2"].failing(grpc.StatusCode.INTERNAL):
        answer = await own.predict("keys", {"rider_id": ["three", "nobody", "one"]})
    assert near([PLAIN[2], PLAIN[0]]) == output(answer)[::2]
    ((row, error),) = [(each.row, status_failure(each.status)) for each in answer.row_errors]
    assert (1, "UNAVAILABLE", FAILED) == (row, error.code, error.reason)
    assert [("ROUTE", "2.0.0", [], FAILED), ("LAST_ANSWER", "2.0.0", [0, 2], "NO_LAST_ANSWER")] == ladder(answer)


async def test_version_of_a_ladder_stays(whole: Compositions, models: dict[str, ScriptedModel]) -> None:
    """It cannot be deleted while a ladder names it; nor can a version stand in for itself."""
    own = whole.own
    await own.endpoint("held", "score", version="2.0.0", fallbacks=steps("1.0.0"))
    version = registry_pb.VersionName(model=own.full("score"), version="1.0.0")
    refused_call = own.mesh.registry.Delete(registry_pb.DeleteRequest(version=version), timeout=TIMEOUT_S)
    found = await failure(refused_call)
    assert ("FAILED_PRECONDITION", "IN_USE") == (found.code, found.reason)
    same = await failure(own.endpoint("same", "score", version="2.0.0", fallbacks=steps("2.0.0")))
    assert ("INVALID_ARGUMENT", ("resources[0].endpoint.fallbacks[0].version",)) == (same.code, same.fields)


async def test_release_counts_what_the_ladder_saved(whole: Compositions, models: dict[str, ScriptedModel]) -> None:
    """A candidate that fails is found out, though its callers have never seen an error."""
    own = whole.own
    await own.endpoint("released", "score", version="2.0.0", sticky_key="rider_id", fallbacks=steps("1.0.0", "static"))
    plan = ReleasePlan(
        steps=[50, 100],
        min_requests=10**6,
        error_rate=ErrorRateGuard(max_increase=0.5),
        latency=LatencyGuard(max_p99_ratio=100),
    )
    start = release_pb.StartReleaseRequest(endpoint=own.full("released"), candidate="3.0.0", plan=plan, actor="test")
    await own.until_served((await own.mesh.releases.StartRelease(start, timeout=TIMEOUT_S)).revision)
    riders = [f"{number}" for number in range(40)]
    with models["quick-1"].answering(refused):
        answers = await asyncio.gather(
            *(own.predict("released", {"rider_id": [rider]}, {"rider:number": [1.0]}) for rider in riders)
        )
    assert {near([PLAIN[0]]) == output(each) or near([SIMPLER[0]]) == output(each) for each in answers} == {True}
    saved = sum(bool(ladder(each)) for each in answers)
    assert 0 < saved < len(riders)

    async def counted() -> bool:
        request = release_pb.GetReleaseRequest(endpoint=own.full("released"))
        found = (await own.mesh.releases.GetRelease(request, timeout=TIMEOUT_S)).steps
        return bool(found) and (found[0].candidate.errors, found[0].stable.requests) == (saved, len(riders) - saved)

    await eventually(counted, "the candidate's failures")
