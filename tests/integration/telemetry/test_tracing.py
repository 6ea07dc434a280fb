"""One trace over all hops, received by a collector of others."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio

from tests.integration.telemetry.conftest import arrived
from tests.support.onnx_models import linear
from tests.support.triton import installed_triton
from tests.support.waiting import until
from tests.worlds.collector import Collector, Span
from tests.worlds.mesh import connect
from tests.worlds.models import echo, tables
from tests.worlds.resources import field, values, view
from tests.worlds.sandbox import TIMEOUT_S, Sandbox, eventually
from tests.worlds.up import Up, up

CALLER = "00f067aa0ba902b7"
GATEWAY, FEATURES, MODEL = (f"predictmesh-{service}" for service in ("gateway", "features", "model"))
TRITON = "predictmesh-triton"
PREDICT = "predictmesh.gateway.v1.PredictionService/Predict"
GET, INFER = "predictmesh.features.v1.FeatureService/GetFeatures", "inference.GRPCInferenceService/ModelInfer"
BATCH = [CALLER, f"{GATEWAY} SERVER {PREDICT}", f"{GATEWAY} INTERNAL batch"]
MODEL_BATCH = [*BATCH, f"{GATEWAY} CLIENT {INFER}", f"{MODEL} SERVER {INFER}", f"{MODEL} INTERNAL batch"]


@pytest_asyncio.fixture
async def own(running: Up) -> AsyncIterator[Sandbox]:
    """Endpoint `ride` over one stored field, whose plan the feature service knows."""
    async with connect(running.addresses) as mesh:
        made = Sandbox(mesh)
        await made.view(view("rider", field("v", default=0.0), entity="rider", keys={"rider_id": "STRING"}))
        await made.serve("ride", echo(x=("FP32", (1,))), {"x": ["rider:v"]})
        await made.write("rider", {"rider_id": ["a"]}, {"v": [1.0]})
        await made.predict("ride", {"rider_id": ["a"]})
        yield made


def traced(trace_id: str, *, sampled: bool = True) -> tuple[str, str]:
    """Return the metadata that makes a call part of a trace."""
    return "traceparent", f"00-{trace_id}-{CALLER}-{'01' if sampled else '00'}"


async def call(
    own: Sandbox,
    trace_id: str,
    *,
    sampled: bool = True,
    endpoint: str = "ride",
    rider: str = "a",
    expected: float = 1.0,
) -> None:
    """Predict as part of a trace."""
    request = own.request(endpoint, {"rider_id": [rider]})
    answer = await own.mesh.gateway.Predict(request, metadata=(traced(trace_id, sampled=sampled),), timeout=TIMEOUT_S)
    assert ([expected], trace_id) == (values(answer.outputs[0]), answer.provenance.trace_id)


async def whole(receiver: Collector, trace_id: str) -> list[Span]:
    """Wait until every service has sent its spans of a trace, of which that of the call that it has answered is the last."""

    async def there() -> bool:
        ended = {span.service for span in receiver.trace(trace_id) if span.kind == "SPAN_KIND_SERVER"}
        return {GATEWAY, FEATURES, MODEL} <= ended

    await eventually(there, "the spans of every service")
    return receiver.trace(trace_id)


async def test_one_trace_over_all_hops(own: Sandbox, receiver: Collector) -> None:
    """Each hop is the child of the one that called it, up to the caller's own span."""
    trace_id = uuid.uuid4().hex
    await call(own, trace_id)
    found = paths(await whole(receiver, trace_id))
    assert [*BATCH, f"{GATEWAY} CLIENT {GET}", f"{FEATURES} SERVER {GET}"] in found
    assert MODEL_BATCH[:-1] in found
    assert MODEL_BATCH in found
    assert 7 == len(found)


async def test_one_trace_down_to_triton(own: Sandbox, receiver: Collector) -> None:
    """Triton's own steps are below the call that the model service makes of it."""
    installed_triton()
    await own.model("sum")
    await own.register("sum", "1.0.0", linear(width=2), {"x": ["rider:v", "request:b"]}, runtimes=["triton"])
    await own.until_runtime("sum", "1.0.0")
    await own.endpoint("sum", "sum", version="1.0.0")
    request = own.request("sum", {"rider_id": ["a"]}, {"b": [2.0]})
    traces: list[list[Span]] = []

    async def complete() -> bool:
        trace_id = uuid.uuid4().hex
        answer = await own.mesh.gateway.Predict(request, metadata=(traced(trace_id),), timeout=TIMEOUT_S)
        assert ("triton", [3.0]) == (answer.provenance.runtime, values(answer.outputs[0]))
        traces[:] = [receiver.trace(spans[0].trace_id) for spans in [*traces, await whole(receiver, trace_id)]]
        return any(of_triton(spans) for spans in traces)

    def of_triton(spans: list[Span]) -> bool:
        return any(span.service == TRITON for span in spans)

    # Triton keeps its spans of a call until those of the next one come, and loses some: it does not send them again.
    await eventually(complete, "the spans of Triton")
    found = paths(next(spans for spans in traces if of_triton(spans)))
    assert [*BATCH, f"{GATEWAY} CLIENT {GET}", f"{FEATURES} SERVER {GET}"] in found
    steps = [path for path in found if path[-1].startswith(TRITON)]
    assert [*MODEL_BATCH, f"{MODEL} CLIENT {INFER}"] == steps[0][:-1]
    assert all(steps[0] == path[: len(steps[0])] for path in steps)


def paths(spans: list[Span]) -> list[list[str]]:
    """Return, of each span, those that it is below, and itself; first its caller's. The highest ones come first."""
    known = {span.span_id: span for span in spans}

    def path(span: Span) -> list[str]:
        parent = known.get(span.parent_id)
        return [*(path(parent) if parent else [span.parent_id]), f"{span.service} {span.kind[10:]} {span.name}"]

    return sorted((path(span) for span in spans), key=len)


async def test_a_batch_links_its_requests(own: Sandbox, receiver: Collector) -> None:
    """Requests that travel together are each linked once, by the batch that carried them."""
    trace_ids = [uuid.uuid4().hex for _ in range(40)]
    async with asyncio.TaskGroup() as group:
        for trace_id in trace_ids:
            group.create_task(call(own, trace_id))

    async def complete() -> bool:
        return {trace_id for batch in batches() for trace_id, _ in batch.links} == set(trace_ids)

    def batches() -> list[Span]:
        gateways = (span for span in receiver.spans() if (span.service, span.name) == (GATEWAY, "batch"))
        return [span for span in gateways if span.trace_id in trace_ids]

    await eventually(complete, "a link to every request")
    links = [link for batch in batches() for link in batch.links]
    assert len(trace_ids) == len(links)

    async def linked() -> bool:
        return set(links) <= {(span.trace_id, span.span_id) for span in receiver.spans() if span.name == PREDICT}

    await eventually(linked, "the spans of the requests, which end after their batch")
    assert len(batches()) < len(trace_ids)
    assert all(str(len(batch.links)) == batch.attributes["rows"] for batch in batches())


async def test_what_is_not_sampled_leaves_no_spans(own: Sandbox, receiver: Collector) -> None:
    """The caller's decision holds on every hop."""
    silent, later = uuid.uuid4().hex, uuid.uuid4().hex
    await call(own, silent, sampled=False)
    await call(own, later)
    await whole(receiver, later)
    assert not receiver.trace(silent)


async def test_a_failure_leaves_a_span_all_the_same(own: Sandbox, receiver: Collector) -> None:
    """A request that failed is asked about, sampled or not."""
    trace_id = uuid.uuid4().hex
    with pytest.raises(grpc.aio.AioRpcError):
        await call(own, trace_id, sampled=False, endpoint="nobody")
    (span,) = await arrived(receiver, trace_id, GATEWAY)
    assert "UNKNOWN_ENDPOINT" == span.attributes["error.type"]
    assert CALLER == span.parent_id
    assert [("exception", "UNKNOWN_ENDPOINT")] == [
        (event.name, event.attributes["exception.type"]) for event in span.events
    ]


@pytest.mark.parametrize("sampled", [True, False])
async def test_what_an_answer_lacks_is_an_event(own: Sandbox, receiver: Collector, *, sampled: bool) -> None:
    """It stands in the call's own span; without one, in a span that tells the times of the hops, too."""
    trace_id = uuid.uuid4().hex
    await call(own, trace_id, sampled=sampled, rider="nobody", expected=0.0)
    name = PREDICT if sampled else "predict"

    async def there() -> bool:
        return any(span.name == name for span in receiver.trace(trace_id))

    await eventually(there, "the span of the request")
    spans = receiver.trace(trace_id)
    (span,) = [span for span in spans if span.name == name]
    assert sampled or len(spans) == 1
    assert [*([] if sampled else ["queue", "features", "model"]), "degraded"] == [event.name for event in span.events]
    assert {"reason": "FEATURE_ABSENT", "subject": own.full("rider")} == span.events[-1].attributes
    assert ("true", CALLER) == (span.attributes["degraded"].lower(), span.parent_id)


async def test_logs_tell_the_trace(own: Sandbox, receiver: Collector, log: Path) -> None:
    """What a service logs of a call has the id under which the call's spans are found."""
    await own.serve("listed", tables(y=np.array([0.5])), {"x": ["request:x"]})
    trace_id = uuid.uuid4().hex
    request = own.request("listed", {}, {"x": [7]})
    with pytest.raises(grpc.aio.AioRpcError):
        await own.mesh.gateway.Predict(request, metadata=(traced(trace_id),), timeout=TIMEOUT_S)
    await arrived(receiver, trace_id, MODEL)

    def told() -> list[tuple[str, str]]:
        lines = [json.loads(line) for line in log.read_text().splitlines() if trace_id in line]
        return [(line["service"], line["message"]) for line in lines if line["trace_id"] == trace_id]

    until(told, lambda lines: ("model", "rows failed") in lines)


async def test_spans_are_sent_when_a_process_stops(tmp_path: Path, receiver: Collector) -> None:
    """What has not been sent yet is not lost; a monolith's spans tell which of the services in it they are of.

    Calls that bring no trace are sampled by the ratio, here all, under the id that their callers are told.
    """
    trace_id, env = uuid.uuid4().hex, {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    with up(tmp_path, "--topology", "monolith", "--trace-sample-ratio", "1", env=env) as started:
        async with connect(started.addresses) as mesh:
            made = Sandbox(mesh)
            await made.serve("ride", echo(x=("FP32", (1,))), {"x": ["request:x"]})
            request = made.request("ride", {}, {"x": [1.0]})
            await mesh.gateway.Predict(request, metadata=(traced(trace_id),), timeout=TIMEOUT_S)
            told = (await mesh.gateway.Predict(request, timeout=TIMEOUT_S)).provenance.trace_id
        assert 0 == started.stop()

    async def sent() -> bool:
        services = {span.service for span in receiver.trace(trace_id)}
        roots = [span.name for span in receiver.trace(told) if not span.parent_id]
        return ({"predictmesh-monolith", MODEL}, [PREDICT]) == (services, roots)

    # What the collector has received it may not have written yet.
    await eventually(sent, "the spans of both calls")
