"""Traces and metrics tell of a call what happened, and spans cost nothing where nobody asked."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import Mock, patch

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh import context as calls
from services.mesh.context import CallContext
from services.mesh.errors import InvalidArgument, MeshError
from services.mesh.telemetry.spans import note, record_span, span, span_context
from services.mesh.telemetry.tracing import EXPORT_DELAY_MS, RUN_S, SAMPLED_RUN, Tracing, open_tracing
from tests.support.probe import Probe, World, calling, new_probe

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
APPLY = "predictmesh.registry.v1.RegistryService/Apply"


class Traced:
    """Two services, one behind the other, and the spans of both. The first makes two calls side by side."""

    def __init__(
        self, stub: Any, front: Probe, back: Probe, tracings: list[tuple[Tracing, InMemorySpanExporter]]
    ) -> None:
        self.stub = stub
        self.back = back
        self.contexts: list[CallContext] = []
        self._tracings = tracings
        self.act_of_back = back.act
        front.act, back.act = self._forward, self._receive

    async def _forward(self, request: Any, context: Any) -> None:
        self._note()
        both = (self.behind.Apply(registry_pb.ApplyRequest(), timeout=30) for _ in range(2))
        await asyncio.gather(*both, return_exceptions=True)

    async def _receive(self, request: Any, context: Any) -> None:
        self._note()
        await self.act_of_back(request, context)

    def _note(self) -> None:
        running = calls.current()
        assert running is not None
        self.contexts.append(running)

    behind: Any = None

    def spans(self) -> list[ReadableSpan]:
        """Return every span, when no more will come."""
        found: list[ReadableSpan] = []
        for tracing, exporter in self._tracings:
            tracing.close()
            found += exporter.get_finished_spans()
        return found


@pytest.fixture(params=["grpc", "local"])
def world(request: pytest.FixtureRequest) -> World:
    """How the services call each other."""
    chosen: World = request.param
    return chosen


@pytest.fixture
def ratio() -> float:
    """Return the fraction of calls sampled by the first service."""
    return 1.0


@pytest.fixture
async def traced(world: World, ratio: float) -> AsyncIterator[Traced]:
    """Two services whose spans can be read."""
    tracings = [
        (Tracing(name, exporter=exporter, sample_ratio=share), exporter)
        for name, share, exporter in (("front", ratio, InMemorySpanExporter()), ("back", 0.0, InMemorySpanExporter()))
    ]
    front, back = new_probe(), new_probe()
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(calling(world, back, tracing=tracings[1][0]))
        stub = await stack.enter_async_context(calling(world, front, tracing=tracings[0][0]))
        traced = Traced(stub, front, back, tracings)
        traced.behind = behind
        yield traced
        traced.spans()


def parent(child: ReadableSpan) -> int | None:
    """Return the id of the parent span."""
    return None if child.parent is None else child.parent.span_id


async def test_sampled_call_makes_one_tree(traced: Traced, world: World) -> None:
    """Server spans, and client spans between processes, form one tree under the trace id that the call has."""
    await traced.stub.Apply(registry_pb.ApplyRequest(), timeout=30)
    spans = traced.spans()
    root = next(one for one in spans if one.parent is None)
    assert {int(call.trace_id, 16) for call in traced.contexts} == {root.context.trace_id}
    assert {root.context.trace_id} == {one.context.trace_id for one in spans}
    assert SpanKind.SERVER == root.kind
    clients = [one for one in spans if one.kind is SpanKind.CLIENT]
    servers = [one for one in spans if one.kind is SpanKind.SERVER and one is not root]
    assert (2 if world == "grpc" else 0, 2) == (len(clients), len(servers))
    assert {root.context.span_id} == {parent(one) for one in clients or servers}
    if world == "grpc":
        assert {one.context.span_id for one in clients} == {parent(one) for one in servers}
    assert {APPLY} == {one.name for one in spans}


async def test_callers_decision_is_taken_over(traced: Traced, ratio: float) -> None:
    """A caller's sampled trace goes on under its span."""
    await traced.stub.Apply(
        registry_pb.ApplyRequest(), timeout=30, metadata=(("traceparent", f"00-{TRACE}-{SPAN}-01"),)
    )
    spans = traced.spans()
    assert {int(TRACE, 16)} == {one.context.trace_id for one in spans}
    ids = {one.context.span_id for one in spans}
    assert [int(SPAN, 16)] == [parent(one) for one in spans if parent(one) not in ids]


@pytest.mark.parametrize("ratio", [0.0])
async def test_unsampled_call_makes_no_spans(traced: Traced, ratio: float) -> None:
    """Neither a call left out here nor one left out by its caller costs a span."""
    await traced.stub.Apply(registry_pb.ApplyRequest(), timeout=30)
    await traced.stub.Apply(
        registry_pb.ApplyRequest(), timeout=30, metadata=(("traceparent", f"00-{TRACE}-{SPAN}-00"),)
    )
    assert [] == traced.spans()


async def test_failed_call_marks_its_spans(traced: Traced) -> None:
    """Spans of a failure carry its reason; the span of a call that coped does not."""

    async def fail(request: Any, context: Any) -> None:
        raise InvalidArgument("bad")

    traced.act_of_back = fail
    await traced.stub.Apply(registry_pb.ApplyRequest(), timeout=30)
    spans = traced.spans()
    root = next(one for one in spans if one.parent is None)
    others = [one for one in spans if one is not root]
    assert {("INVALID_ARGUMENT", StatusCode.ERROR)} == {
        ((one.attributes or {}).get("error.type"), one.status.status_code) for one in others
    }
    assert StatusCode.UNSET == root.status.status_code
    told = {"exception.type": "INVALID_ARGUMENT", "exception.message": "bad"}
    assert [("exception", told)] * len(others) == [
        (event.name, event.attributes) for one in others for event in one.events
    ]
    assert not root.events


@pytest.fixture
def memory() -> InMemorySpanExporter:
    """Where the spans go."""
    return InMemorySpanExporter()


@pytest.fixture
def tracing(memory: InMemorySpanExporter) -> Tracing:
    """The tracing of one service."""
    return Tracing("probe", exporter=memory, sample_ratio=1)


def call_of(tracing: Tracing, span_id: str = SPAN, *, sampled: bool = True) -> CallContext:
    """Return a call as the chain makes it."""
    return CallContext("request", TRACE, span_id, sampled, tracer=tracing.tracer)


def test_spans_nest(tracing: Tracing, memory: InMemorySpanExporter) -> None:
    """A span is the parent of what is called inside it; afterwards the call is as it was."""
    call = call_of(tracing)
    with span("outer", call, SpanKind.INTERNAL):
        inside = calls.current()
        assert inside is not None
        with span("inner", inside, SpanKind.INTERNAL):
            pass
    assert (SPAN, None) == (call.span_id, calls.current())
    tracing.close()
    inner, outer = memory.get_finished_spans()
    assert (outer.context.span_id, int(SPAN, 16)) == (parent(inner), parent(outer))


def test_events_belong_to_the_innermost_span(tracing: Tracing, memory: InMemorySpanExporter) -> None:
    """What is noted of a call is an event of the span that it runs in, and nothing where it has none."""
    call = call_of(tracing)
    with span("outer", call, SpanKind.INTERNAL):
        inside = calls.current()
        assert inside is not None
        with span("inner", inside, SpanKind.INTERNAL):
            note(calls.current(), "one", {"rows": 1})
        note(calls.current(), "two", {})
    note(call, "three", {})
    note(None, "four", {})
    tracing.close()
    inner, outer = memory.get_finished_spans()
    assert ["one", "two"] == [event.name for one in (inner, outer) for event in one.events]


def test_text_of_a_fault_stays_in_the_log(tracing: Tracing, memory: InMemorySpanExporter) -> None:
    """A span that ends in what nobody foresaw names it, and neither its text nor where it was raised."""
    with pytest.raises(ValueError, match="secret"), span("one", call_of(tracing), SpanKind.INTERNAL):
        raise ValueError("a secret")
    tracing.close()
    (left,) = memory.get_finished_spans()
    assert [{"exception.type": "ValueError", "exception.message": ""}] == [event.attributes for event in left.events]
    assert left.status.description is None


def test_batch_links_its_other_requests(tracing: Tracing, memory: InMemorySpanExporter) -> None:
    """A span that stands for several requests names the others."""
    other = span_context("1" * 32, "2" * 16)
    with span("batch", call_of(tracing), SpanKind.INTERNAL, links=[other], attributes={"rows": 3}):
        pass
    tracing.close()
    (batch,) = memory.get_finished_spans()
    assert ([other], 3) == ([link.context for link in batch.links], (batch.attributes or {})["rows"])


@pytest.mark.parametrize("span_id", [SPAN, ""])
def test_span_after_the_fact(tracing: Tracing, memory: InMemorySpanExporter, span_id: str) -> None:
    """A failed call that was not sampled gets a span under its own trace id, with the times it is told."""
    call = call_of(tracing, span_id, sampled=False)
    events = [Event("half way", {"rows": 2}, 1_500)]
    error = InvalidArgument("bad")
    record_span("late", call, start_ns=1_000, end_ns=2_000, attributes={"reason": "x"}, events=events, error=error)
    tracing.close()
    (late,) = memory.get_finished_spans()
    assert (("half way", 1_500), "exception") == ((late.events[0].name, late.events[0].timestamp), late.events[1].name)
    assert (StatusCode.ERROR, "bad") == (late.status.status_code, late.status.description)
    assert (int(TRACE, 16), 1_000, 2_000) == (late.context.trace_id, late.start_time, late.end_time)
    assert (int(span_id, 16) if span_id else None) == parent(late)


def test_long_message_is_cut(tracing: Tracing, memory: InMemorySpanExporter) -> None:
    """Words of a caller's, however many, do not make a span that a collector refuses with all beside it."""
    with pytest.raises(InvalidArgument), span("one", call_of(tracing), SpanKind.INTERNAL):
        raise InvalidArgument("\ud800" + "x" * 2_000_000)
    tracing.close()
    (left,) = memory.get_finished_spans()
    assert 3_000 > encode_spans([left]).ByteSize()
    assert (left.status.description or "").startswith("?xxx")


@pytest.mark.parametrize(
    ("told", "delay_ms"), [("", EXPORT_DELAY_MS), ("0", EXPORT_DELAY_MS), ("abc", EXPORT_DELAY_MS), ("70", 70)]
)
def test_export_delay(monkeypatch: pytest.MonkeyPatch, memory: InMemorySpanExporter, told: str, delay_ms: int) -> None:
    """OpenTelemetry's own variable is obeyed where it makes sense."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", told)
    with patch("services.mesh.telemetry.tracing.BatchSpanProcessor") as processor:
        Tracing("probe", exporter=memory, sample_ratio=1)
    assert delay_ms == processor.call_args.kwargs["schedule_delay_millis"]


def test_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """No span is made where OpenTelemetry is told to make none."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "True")
    assert open_tracing("probe", endpoint="http://127.0.0.1:1", sample_ratio=1).tracer is None


def test_run_ends_with_its_moment(memory: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours are sampled together, and calls that are far apart each by chance."""
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    chance = Mock(return_value=0.0)
    monkeypatch.setattr(random, "random", chance)
    tracing = Tracing("probe", exporter=memory, sample_ratio=0.5)
    for _ in range(SAMPLED_RUN):
        assert tracing.decide(call_of(tracing, "", sampled=False))
    assert 1 == chance.call_count
    for _ in range(3):
        now += 2 * RUN_S
        tracing.decide(call_of(tracing, "", sampled=False))
    assert 4 == chance.call_count
    tracing.close()


def test_environment_does_not_come_between(monkeypatch: pytest.MonkeyPatch, memory: InMemorySpanExporter) -> None:
    """The head decision is the call's alone, whatever OpenTelemetry's own variables say."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    tracing = Tracing("probe", exporter=memory, sample_ratio=1)
    with span("one", call_of(tracing), SpanKind.INTERNAL):
        pass
    tracing.close()
    assert 1 == len(memory.get_finished_spans())


def test_missing_collector_does_not_hold_up_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """A process ends soon although its last spans find nobody."""
    tracing = open_tracing("probe", endpoint="http://127.0.0.1:1", sample_ratio=1)
    with span("one", call_of(tracing), SpanKind.INTERNAL):
        pass
    start = time.monotonic()
    tracing.close()
    assert time.monotonic() - start < 5


def metric(name: str, **labels: str) -> float:
    """Return the value of a metric; 0 if it has none."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_calls_are_counted_by_code_and_reason(world: World) -> None:
    """Durations are by code; errors by reason; refusals of the chain count too."""
    method = {"service": APPLY.split("/", maxsplit=1)[0], "rpc_method": "Apply"}
    probe = new_probe()

    async def fail(request: Any, context: Any) -> None:
        raise InvalidArgument("bad")

    def counted() -> list[float]:
        duration = "rpc_server_call_duration_seconds_count"
        return [
            metric(duration, **method, rpc_status_code="OK"),
            metric(duration, **method, rpc_status_code="INVALID_ARGUMENT"),
            metric(duration, **method, rpc_status_code="RESOURCE_EXHAUSTED"),
            metric("predictmesh_rpc_errors_total", **method, reason="INVALID_ARGUMENT"),
            metric("predictmesh_rpc_errors_total", **method, reason="OVERLOADED"),
        ]

    before = counted()
    async with calling(world, probe) as stub:
        await stub.Apply(registry_pb.ApplyRequest(), timeout=30)
        probe.act = fail
        with pytest.raises(MeshError):
            await stub.Apply(registry_pb.ApplyRequest(), timeout=30)
    async with calling(world, probe, max_in_flight=0) as stub:
        with pytest.raises(MeshError):
            await stub.Apply(registry_pb.ApplyRequest(), timeout=30)
    assert [1, 1, 1, 1, 1] == [after - start for after, start in zip(counted(), before, strict=True)]


async def test_cancelled_call_of_a_client_is_no_success() -> None:
    """A call that its caller gave up is counted as CANCELLED on both sides."""
    probe = new_probe()
    begun = asyncio.Event()

    async def hang(request: Any, context: Any) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    labels = {"rpc_method": f"/{APPLY}", "rpc_status_code": "CANCELLED"}
    before = metric("rpc_client_call_duration_seconds_count", **labels)
    probe.act = hang
    async with calling("grpc", probe) as stub:
        call = asyncio.create_task(stub.Apply(registry_pb.ApplyRequest(), timeout=30))
        async with asyncio.timeout(10):
            await begun.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert 1 == metric("rpc_client_call_duration_seconds_count", **labels) - before
