"""What is left in the trace of a request that failed, or whose answer is less than it could be."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY

from services.gateway import noting
from services.gateway.errors import VersionNotLoaded
from services.mesh import context as calls
from services.mesh.admission.allowance import Allowance
from services.mesh.context import CallContext, new_span_id, new_trace_id
from services.mesh.deadline import Deadline
from services.mesh.errors import MeshError, Reason, StoreUnavailable
from services.mesh.telemetry.spans import span
from services.mesh.telemetry.tracing import Tracing
from tests.support.predictions import StoredRow, call, column, snapshot, version, view
from tests.unit.gateway.world import World

RIDER = view("rider", "a:FP32", "n:INT64")
BOUND = {"x:FP32": ["rider:a"], "n:INT64": ["rider:n"]}
DEFINED = snapshot(RIDER, versions=[version(BOUND)], live="1.0.0")
ONE = column("rider_id", "a")


@pytest.fixture
def world() -> World:
    """A flow that has its definitions; of rider b the store does not answer."""
    away = StoredRow(unreached=frozenset({"rider"}))
    made = World({"a": StoredRow({"rider:a": 2.0, "rider:n": 3}), "b": away})
    made.flow.use(made.tables.build(DEFINED))
    return made


class Traced:
    """A call with a tracer, and what was recorded of it."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = Tracing("gateway", exporter=self._exporter, sample_ratio=0)
        self.call = CallContext("request", new_trace_id(), new_span_id(), sampled=False, tracer=self.tracing.tracer)

    def left(self) -> list[ReadableSpan]:
        """The spans of the requests themselves."""
        self.tracing.close()
        return [one for one in self._exporter.get_finished_spans() if one.kind is SpanKind.SERVER]


@pytest.fixture
async def traced() -> AsyncIterator[Traced]:
    """The running call, which is not sampled."""
    made = Traced()
    token = calls.use(made.call)
    yield made
    calls.reset(token)
    made.tracing.close()


def events(one: ReadableSpan) -> list[str]:
    """Return the names of a span's events, which must lie in the span."""
    assert one.start_time is not None
    assert one.end_time is not None
    assert all(one.start_time <= event.timestamp <= one.end_time for event in one.events)
    return [event.name for event in one.events]


@pytest.mark.parametrize(
    ("failing", "reason", "way"),
    [
        ("features", Reason.STORE_UNAVAILABLE, ["queue", "features"]),
        ("model", Reason.VERSION_NOT_LOADED, ["queue", "features", "model"]),
        ("deadline", Reason.DEADLINE_EXCEEDED, ["queue", "features"]),
        ("nothing", Reason.MISSING_KEY, []),
    ],
)
async def test_failure_that_was_not_sampled(
    world: World, traced: Traced, failing: str, reason: Reason, way: list[str]
) -> None:
    """It leaves one span, under its caller's, with the hops that it had come to and what it failed with."""
    until = None
    if failing == "features":
        world.features.failures.append(StoreUnavailable("the store is down"))
    elif failing == "model":
        world.model.failures.append(VersionNotLoaded("not here"))
    elif failing == "deadline":
        world.features.gate.clear()
        until = Deadline.after(0.05)
    with pytest.raises(MeshError) as raised:
        await world.flow.run(call(deadline=until) if failing == "nothing" else call(ONE, deadline=until))
    (left,) = traced.left()
    assert reason == raised.value.reason == (left.attributes or {})["error.type"]
    assert StatusCode.ERROR == left.status.status_code
    assert [*way, "exception"] == events(left)
    assert left.parent is not None
    assert (traced.call.trace_id, traced.call.span_id) == (
        f"{left.context.trace_id:032x}",
        f"{left.parent.span_id:016x}",
    )


async def test_degraded_answer_that_was_not_sampled(world: World, traced: Traced) -> None:
    """It leaves one span with the times of its hops and an event for each degradation; a whole answer leaves none."""
    await world.flow.run(call(ONE))
    await world.flow.run(call(column("rider_id", "a", "b")))
    (left,) = traced.left()
    assert ["queue", "features", "model", "degraded"] == events(left)
    told = left.events[-1].attributes or {}
    assert ("STORE_UNREACHABLE", "rider", [1]) == (told["reason"], told["subject"], told["rows"])
    assert (True, StatusCode.UNSET) == ((left.attributes or {})["degraded"], left.status.status_code)


async def test_degraded_answer_of_a_sampled_call(world: World, traced: Traced) -> None:
    """Its degradations are events of the call's own span; there is no second one."""
    traced.call.sampled = True
    with span("Predict", traced.call, SpanKind.SERVER):
        await world.flow.run(call(ONE))
        await world.flow.run(call(column("rider_id", "b")))
    (left,) = traced.left()
    assert ("Predict", ["degraded"]) == (left.name, events(left))
    assert (left.attributes or {})["degraded"]


async def test_failure_of_a_sampled_call(world: World, traced: Traced) -> None:
    """The call's own span says so; there is no second one."""
    traced.call.sampled = True
    with pytest.raises(MeshError), span("Predict", traced.call, SpanKind.SERVER):
        await world.flow.run(call())
    (left,) = traced.left()
    assert ("Predict", ["exception"]) == (left.name, events(left))


async def test_requests_of_a_sampled_stream(world: World, traced: Traced) -> None:
    """The stream has no span, so each of them that is not answered as it should be leaves one, under its caller's."""
    traced.call.sampled = True
    await world.flow.run(call(ONE))
    await world.flow.run(call(column("rider_id", "b")))
    with pytest.raises(MeshError):
        await world.flow.run(call())
    degraded, failed = (one for one in traced.left() if one.name == "predict")
    assert (["queue", "features", "model", "degraded"], ["exception"]) == (events(degraded), events(failed))
    assert {traced.call.span_id} == {f"{one.parent.span_id:016x}" for one in (degraded, failed) if one.parent}


async def test_rows_that_fail(world: World, traced: Traced) -> None:
    """An answer with rows that failed says which, by reason."""
    world.features.rows = {"a": StoredRow({"rider:a": 2.0, "rider:n": None}), "b": StoredRow({"rider:n": 3})}
    answer = await world.flow.run(call(column("rider_id", "a", "b")))
    assert {0} == set(answer.outcome.row_errors)
    (left,) = traced.left()
    told = left.events[-1].attributes or {}
    assert ("rows failed", [0]) == (left.events[-1].name, told["rows"])


async def test_very_many_leave_no_more_spans_than_can_be_looked_at(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an outage tracing must not take what is left of the processor; how many left none is counted."""
    monkeypatch.setattr(noting, "_spans", Allowance(2, saved_s=1.0, clock=lambda: 0.0))
    before = REGISTRY.get_sample_value("predictmesh_spans_left_out_total") or 0
    for _ in range(5):
        with pytest.raises(MeshError):
            await world.flow.run(call())
    assert 2 == len(traced.left())
    assert 3 == (REGISTRY.get_sample_value("predictmesh_spans_left_out_total") or 0) - before
