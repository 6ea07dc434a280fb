"""One trace over all hops, received by a collector of others."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from tests.integration.topology.conftest import arrived
from tests.worlds.collector import Collector, Span
from tests.worlds.mesh import connect
from tests.worlds.models import echo
from tests.worlds.resources import field, values, view
from tests.worlds.sandbox import TIMEOUT_S, Sandbox, eventually
from tests.worlds.up import Up, up

CALLER = "00f067aa0ba902b7"
GATEWAY, FEATURES, MODEL = (f"predictmesh-{service}" for service in ("gateway", "features", "model"))
PREDICT = "predictmesh.gateway.v1.PredictionService/Predict"


@pytest_asyncio.fixture
async def own(running: Up) -> AsyncIterator[Sandbox]:
    """Endpoint `ride` over one stored field, whose plan the feature service knows."""
    async with connect(running.addresses) as mesh:
        made = Sandbox(mesh)
        await made.view(view("rider", field("v"), entity="rider", keys={"rider_id": "STRING"}))
        await made.serve("ride", echo(x=("FP32", (1,))), {"x": ["rider:v"]})
        await made.write("rider", {"rider_id": ["a"]}, {"v": [1.0]})
        await made.predict("ride", {"rider_id": ["a"]})
        yield made


async def call(own: Sandbox, trace_id: str, *, sampled: bool = True, endpoint: str = "ride") -> None:
    """Predict as part of a trace."""
    header = ("traceparent", f"00-{trace_id}-{CALLER}-{'01' if sampled else '00'}")
    request = own.request(endpoint, {"rider_id": ["a"]})
    answer = await own.mesh.gateway.Predict(request, metadata=(header,), timeout=TIMEOUT_S)
    assert ([1.0], trace_id) == (values(answer.outputs[0]), answer.provenance.trace_id)


async def whole(receiver: Collector, trace_id: str) -> list[Span]:
    """Wait until every service has sent its spans of a trace."""
    for service in (GATEWAY, FEATURES, MODEL):
        await arrived(receiver, trace_id, service)
    return receiver.trace(trace_id)


async def test_one_trace_over_all_hops(own: Sandbox, receiver: Collector) -> None:
    """Each hop is the child of the one that called it, up to the caller's own span."""
    trace_id = uuid.uuid4().hex
    await call(own, trace_id)
    spans = {span.span_id: span for span in await whole(receiver, trace_id)}

    def path(span: Span) -> list[str]:
        parent = spans.get(span.parent_id)
        return [*(path(parent) if parent else [span.parent_id]), f"{span.service} {span.kind[10:]} {span.name}"]

    get, infer = "predictmesh.features.v1.FeatureService/GetFeatures", "inference.GRPCInferenceService/ModelInfer"
    batch = [CALLER, f"{GATEWAY} SERVER {PREDICT}", f"{GATEWAY} INTERNAL batch"]
    paths = [path(span) for span in spans.values()]
    assert [*batch, f"{GATEWAY} CLIENT {get}", f"{FEATURES} SERVER {get}"] in paths
    assert [*batch, f"{GATEWAY} CLIENT {infer}", f"{MODEL} SERVER {infer}"] in paths
    assert [*batch, f"{GATEWAY} CLIENT {infer}", f"{MODEL} SERVER {infer}", f"{MODEL} INTERNAL batch"] in paths
    assert 7 == len(spans)


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
    servers = {(span.trace_id, span.span_id) for span in receiver.spans() if span.name == PREDICT}
    links = [link for batch in batches() for link in batch.links]
    assert len(trace_ids) == len(links)
    assert set(links) <= servers
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


async def test_spans_are_sent_when_a_process_stops(tmp_path: Path, receiver: Collector) -> None:
    """What has not been sent yet is not lost; a monolith's spans tell which of the services in it they are of."""
    trace_id = uuid.uuid4().hex
    with up(tmp_path, "--topology", "monolith", env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}) as started:
        async with connect(started.addresses) as mesh:
            made = Sandbox(mesh)
            await made.serve("ride", echo(x=("FP32", (1,))), {"x": ["request:x"]})
            header = ("traceparent", f"00-{trace_id}-{CALLER}-01")
            await mesh.gateway.Predict(made.request("ride", {}, {"x": [1.0]}), metadata=(header,), timeout=TIMEOUT_S)
        assert 0 == started.stop()
    assert {"predictmesh-monolith", MODEL} == {span.service for span in receiver.trace(trace_id)}
