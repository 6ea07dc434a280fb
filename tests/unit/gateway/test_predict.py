"""The whole of one prediction: routed, checked, answered, counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from predictmesh.registry.v1.endpoint_pb2 import OUTCOME_KIND_BINARY, Endpoint, OutcomePolicy, Route
from services.gateway.prediction import DegradationReason, FeatureState
from services.gateway.routing import RouteReason
from services.gateway.splitting import sampled
from services.mesh import context as calls
from services.mesh.context import CallContext, new_trace_id
from services.mesh.deadline import Deadline
from services.mesh.errors import DeadlineExceeded, MeshError, NotReady, Reason
from tests.support.predictions import ELSEWHERE, StoredRow, call, column, snapshot, version, view
from tests.support.virtual_time import run_virtually
from tests.support.waiting import eventually
from tests.unit.gateway.world import World

RIDER = view("rider", "a:FP32", "n:INT64")
BOUND = {"x:FP32": ["rider:a"], "n:INT64": ["rider:n"]}
DEFINED = snapshot(RIDER, versions=[version(BOUND), version(BOUND, number="1.1.0", digest="e")], live="1.0.0")
ONE = column("rider_id", "a")


@pytest.fixture
def world() -> World:
    """A flow that has its definitions."""
    made = World({"a": StoredRow({"rider:a": 2.0, "rider:n": 3})})
    made.flow.use(made.tables.build(DEFINED))
    return made


@pytest.fixture
async def running() -> AsyncIterator[CallContext]:
    """A call that is not sampled, with a tracer."""
    context = CallContext("request", new_trace_id(), "", sampled=False)
    token = calls.use(context)
    yield context
    calls.reset(token)


def counted(name: str, **labels: str) -> float:
    """Return a metric of endpoint m now; 0 if it was never counted."""
    return REGISTRY.get_sample_value(f"predictmesh_{name}", {"endpoint": "m", **labels}) or 0


async def test_answer_says_how_it_was_made(world: World, running: CallContext) -> None:
    """Route, rows, time, trace and revision."""
    calls.use(running)
    answer = await world.flow.run(call(ONE, as_of_us=5_000_000, prediction_id="mine"))
    assert [[6.0]] == answer.outcome.outputs[0].tolist()
    assert ("1.0.0", RouteReason.ENDPOINT_ALIAS) == (answer.route.target.version, answer.route.reason)
    assert ("mine", 1, 5_000_000, running.trace_id, 1) == (
        answer.prediction_id,
        answer.rows,
        answer.as_of_us,
        answer.trace_id,
        answer.revision,
    )
    assert [] == answer.outcome.degradations


async def test_predictions_get_names(world: World) -> None:
    """A prediction that the caller has not named gets a name of its own, outside of a call too."""
    answers = [await world.flow.run(call(ONE)) for _ in range(2)]
    assert 2 == len({answer.prediction_id for answer in answers})
    assert {32} == {len(answer.prediction_id) for answer in answers}
    assert {""} == {answer.trace_id for answer in answers}


async def test_pin(world: World) -> None:
    """A pinned version answers."""
    answer = await world.flow.run(call(ONE, pin="1.1.0"))
    assert ("1.1.0", RouteReason.PINNED) == (answer.route.target.version, answer.route.reason)


async def test_not_ready_before_the_first_definitions() -> None:
    """Without definitions nothing is known, so nothing is refused as unknown; the failure is counted under no name."""
    flow = World({}).flow
    assert not flow.ready
    before = counted("prediction_errors_total", endpoint="", reason=Reason.NOT_READY)
    with pytest.raises(NotReady):
        await flow.run(call(ONE))
    assert 1 == counted("prediction_errors_total", endpoint="", reason=Reason.NOT_READY) - before


async def test_registry_out_of_reach_is_told(world: World) -> None:
    """Definitions may be old while the registry is not heard of, also before it has ever been; every answer says so."""
    world.reachable = False
    before = counted("degradations_total", reason="REGISTRY_UNREACHABLE")
    answer = await world.flow.run(call(ONE))
    (told,) = answer.outcome.degradations
    assert (DegradationReason.REGISTRY_UNREACHABLE, "registry", []) == (told.reason, told.subject, told.rows)
    assert 1 == counted("degradations_total", reason="REGISTRY_UNREACHABLE") - before
    world.reachable = True
    assert [] == (await world.flow.run(call(ONE))).outcome.degradations


async def test_success_is_counted_by_version(world: World) -> None:
    """Durations are by endpoint and version."""
    before = counted("prediction_duration_seconds_count", model_version="1.0.0")
    await world.flow.run(call(ONE))
    assert 1 == counted("prediction_duration_seconds_count", model_version="1.0.0") - before


async def test_degraded_rows_and_failed_rows_are_counted(world: World) -> None:
    """One degradation is a call's, failed rows count each."""
    world.features.rows = {
        "a": StoredRow(),
        "b": StoredRow(states={"rider": FeatureState.STALE_SERVED}),
        "c": StoredRow({"rider:n": None}, states={"rider": FeatureState.ABSENT}),
    }
    rows = counted("prediction_row_errors_total")
    absent, stale = (counted("degradations_total", reason=f"FEATURE_{name}") for name in ("ABSENT", "STALE_SERVED"))
    answer = await world.flow.run(call(column("rider_id", *"abcc")))
    assert [2, 3] == sorted(answer.outcome.row_errors)
    assert 2 == counted("prediction_row_errors_total") - rows
    assert 1 == counted("degradations_total", reason="FEATURE_ABSENT") - absent
    assert 1 == counted("degradations_total", reason="FEATURE_STALE_SERVED") - stale


async def test_answers_of_the_next_runtime_are_counted() -> None:
    """A fallback counts among the degradations, by its reason."""
    world = World({})
    world.flow.use(world.tables.build(snapshot(versions=[version({"mark:BYTES": ["mark"]})])))
    before = counted("degradations_total", reason="RUNTIME_FAILED")
    answer = await world.flow.run(call(features=[column("mark", ELSEWHERE, b"")]))
    assert ("disk", [[0]]) == (answer.outcome.runtime, [found.rows for found in answer.outcome.degradations])
    await world.flow.run(call(features=[column("mark", b"")]))
    assert 1 == counted("degradations_total", reason="RUNTIME_FAILED") - before


@pytest.mark.parametrize(
    ("endpoint", "pin", "label", "reason"),
    [
        ("m", "", "m", Reason.MISSING_KEY),
        ("other", "", "", Reason.UNKNOWN_ENDPOINT),
        ("m", "9.9.9", "m", Reason.UNKNOWN_VERSION),
    ],
)
async def test_failures_are_counted_by_reason(
    world: World, endpoint: str, pin: str, label: str, reason: Reason
) -> None:
    """A name that a caller made up never becomes a label."""
    before = counted("prediction_errors_total", endpoint=label, reason=reason)
    with pytest.raises(MeshError) as caught:
        await world.flow.run(call(endpoint=endpoint, pin=pin))
    assert reason is caught.value.reason
    assert 1 == counted("prediction_errors_total", endpoint=label, reason=reason) - before


async def test_default_timeout(world: World) -> None:
    """A call without a deadline has the endpoint's."""
    short = snapshot(RIDER, versions=[version(BOUND)])
    short.endpoints[0].default_timeout_ms = 20
    world.flow.use(world.tables.build(short))
    world.features.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await world.flow.run(call(ONE))
    await eventually(lambda: world.features.cancelled == 1)


@pytest.mark.parametrize(("seconds", "kept_s"), [(0.01, 0.002), (0.5, 0.01), (60, 0.025)])
def test_who_is_not_answered_is_told_before_his_time_is_over(seconds: float, kept_s: float) -> None:
    """What would reach him at his deadline, he does not hear any more."""

    async def left_s() -> float:
        world = World({})
        world.flow.use(world.tables.build(DEFINED))
        world.features.gate.clear()
        deadline = Deadline.after(seconds)
        with pytest.raises(DeadlineExceeded):
            await world.flow.run(call(ONE, deadline=deadline))
        return deadline.remaining()

    assert kept_s == pytest.approx(run_virtually(left_s()), rel=0.01)


async def test_own_deadline(world: World) -> None:
    """The caller's deadline counts where there is one."""
    with pytest.raises(DeadlineExceeded):
        await world.flow.run(call(ONE, deadline=Deadline.after(-1)))
    await world.flow.run(call(ONE, deadline=Deadline.after(60)))
    assert world.model.remaining_ms[0][0] > 50_000


async def test_requests_of_one_version_travel_together_whatever_the_table(world: World) -> None:
    """A newer table that leaves a version as it is leaves its lane alone."""
    world.features.gate.clear()
    first = asyncio.create_task(world.flow.run(call(ONE)))
    await eventually(lambda: len(world.features.calls) == 1)
    newer = snapshot(RIDER, view("new", "a:FP32"), versions=DEFINED.models[0].versions, live="1.1.0", revision=2)
    world.flow.use(world.tables.build(newer))
    pinned = [asyncio.create_task(world.flow.run(call(ONE, pin="1.0.0"))) for _ in range(2)]
    world.features.gate.set()
    revisions = [answer.revision for answer in await asyncio.gather(first, *pinned)]
    assert [1, 2, 2] == revisions
    assert [[["a"]], [["a", "a"]]] == world.features.calls


async def test_batches_under_way_end_as_they_began(world: World) -> None:
    """A version that a newer table no longer has still answers whom it was chosen for, and nobody after."""
    world.features.gate.clear()
    under_way = asyncio.create_task(world.flow.run(call(ONE, pin="1.1.0")))
    await eventually(lambda: len(world.features.calls) == 1)
    world.flow.use(world.tables.build(snapshot(RIDER, versions=[version(BOUND)], revision=2)))
    with pytest.raises(MeshError, match="no version"):
        await world.flow.run(call(ONE, pin="1.1.0"))
    world.features.gate.set()
    assert "1.1.0" == (await under_way).route.target.version
    assert {target.version for target in world.flow._lanes._lanes} <= {"1.0.0"}
    labels = {"model": under_way.result().route.target.model, "model_version": "1.1.0"}
    assert REGISTRY.get_sample_value("predictmesh_queue_rows", labels) is None


async def test_explain_travels_alone(world: World) -> None:
    """Who wants an explanation neither slows others down nor waits for them."""
    world.features.gate.clear()
    predicts = [asyncio.create_task(world.flow.run(call(ONE))) for _ in range(2)]
    explains = [asyncio.create_task(world.flow.run(call(ONE, explain=True))) for _ in range(2)]
    await eventually(lambda: len(world.features.calls) == 3)
    world.features.gate.set()
    found = await asyncio.gather(*predicts, *explains)
    assert [2, 2, 1, 1] == [answer.outcome.batch_rows for answer in found]
    assert [False, False, True, True] == [answer.outcome.explanation is not None for answer in found]


async def test_explain_leaves_the_queue_in_the_metrics_to_callers(world: World) -> None:
    """What waits for a batch is still counted once somebody has asked for an explanation."""
    await world.flow.run(call(ONE))
    await world.flow.run(call(ONE, explain=True))
    world.features.gate.clear()
    predicts = [asyncio.create_task(world.flow.run(call(ONE)))]
    await eventually(lambda: len(world.features.calls) == 3)
    predicts.append(asyncio.create_task(world.flow.run(call(ONE))))
    labels = {"model": "m", "model_version": "1.0.0"}
    await eventually(lambda: REGISTRY.get_sample_value("predictmesh_queue_rows", labels) == 1)
    world.features.gate.set()
    await asyncio.gather(*predicts)


async def test_idle_while_nobody_waits(world: World) -> None:
    """From the arrival of a request to the last answer somebody waits."""

    def idle() -> bool:
        """Say whether the flow is idle."""
        return world.flow.idle

    assert idle()
    world.features.gate.clear()
    waiting = [asyncio.create_task(world.flow.run(call(ONE, pin=pin))) for pin in ("1.0.0", "1.1.0")]
    await eventually(lambda: len(world.features.calls) == 2)
    assert not idle()
    world.features.gate.set()
    await asyncio.gather(*waiting)
    await eventually(idle)


async def test_what_is_captured_travels_with_the_others(world: World) -> None:
    """Features are kept of the predictions that fall into the share, and of no others; all in one batch."""
    endpoint = Endpoint(name="m", model="m", route=Route(version="1.0.0"))
    endpoint.outcomes.CopyFrom(OutcomePolicy(output="y", kind=OUTCOME_KIND_BINARY, capture_percent=50))
    world.flow.use(world.tables.build(snapshot(RIDER, versions=[version(BOUND)], endpoints=[endpoint])))
    names = [f"prediction {number}" for number in range(8)]
    found = await asyncio.gather(*(world.flow.run(call(ONE, prediction_id=name)) for name in names))
    assert {8} == {answer.outcome.batch_rows for answer in found}
    captured = [sampled("outcome", name, 50) for name in names]
    assert 0 < sum(captured) < 8
    assert captured == [answer.outcome.explanation is not None for answer in found]
