"""Traces of composed endpoints: the path of a request, what was skipped and why, and the ladder's steps."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import numpy as np
import pytest_asyncio

from predictmesh.registry.v1.endpoint_pb2 import Fallback
from tests.integration.telemetry.conftest import arrived
from tests.worlds.collector import Collector, Span
from tests.worlds.graphs import cascade, graph, node
from tests.worlds.mesh import connect
from tests.worlds.models import tables
from tests.worlds.resources import values
from tests.worlds.sandbox import TIMEOUT_S, Sandbox, eventually
from tests.worlds.up import Up

MODEL = "predictmesh-model"
PREDICT = "predictmesh.gateway.v1.PredictionService/Predict"
INFER = "inference.GRPCInferenceService/ModelInfer"
# Of rows 0 to 2, of which the first is sure; neither has a third one but the last.
ANSWERS = {"early": [0.9, 0.5], "late": [0.1, 0.2], "simple": [1.0, 2.0, 3.0]}


@pytest_asyncio.fixture
async def own(running: Up) -> AsyncIterator[Sandbox]:
    """Endpoint `sure`: a cascade of early and late, for which simple stands in."""
    async with connect(running.addresses) as mesh:
        made = Sandbox(mesh)
        for name, answers in ANSWERS.items():
            model, number = ("sure", "1.0.0") if name == "simple" else (name, "1.0.0")
            await made.model(model)
            await made.register(model, number, tables(y=np.array(answers)), {"x": ["request:x"]})
            await made.until_runtime(model, number)
        nodes = [node(name, f"{name}@1.0.0") for name in ("early", "late")]
        await made.compose("sure", "2.0.0", graph(*nodes, cascade("both", ("early", 0.8), "late"), y="both"))
        await made.endpoint("sure", "sure", version="2.0.0", fallbacks=[Fallback(version="1.0.0")])
        await made.predict("sure", {}, {"x": [0]})
        yield made


async def traced(own: Sandbox, receiver: Collector, expected: list[float], *rows: int) -> list[Span]:
    """Ask as part of a new trace, and return its spans once all are there."""
    trace_id = uuid.uuid4().hex
    header = ("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01")
    request = own.request("sure", {}, {"x": list(rows)})
    answer = await own.mesh.gateway.Predict(request, metadata=(header,), timeout=TIMEOUT_S)
    assert expected == values(answer.outputs[0])
    await arrived(receiver, trace_id, MODEL)

    async def ended() -> bool:
        return any(span.name == PREDICT for span in receiver.trace(trace_id))

    await eventually(ended, "the span of the request, which is the last of the gateway")
    return receiver.trace(trace_id)


def below(spans: list[Span], name: str) -> set[str]:
    """What the spans of a name have below them."""
    parents = {span.span_id for span in spans if span.name == name}
    return {span.name for span in spans if span.parent_id in parents}


async def test_path(own: Sandbox, receiver: Collector) -> None:
    """Each node is a span with its version and rows, above the call that it makes."""
    spans = await traced(own, receiver, [0.9, 0.2], 0, 1)
    nodes = {
        span.name: span.attributes for span in spans if span.name.startswith("node ") and "version" in span.attributes
    }
    assert {("node early", "2"), ("node late", "1")} == {(name, told["rows"]) for name, told in nodes.items()}
    assert own.full("early") == nodes["node early"]["model"]
    assert {INFER} == below(spans, "node early") == below(spans, "node late")


async def test_what_is_skipped(own: Sandbox, receiver: Collector) -> None:
    """A stage that is not asked is there too, with the stage that was sure."""
    spans = await traced(own, receiver, [0.9], 0)
    (late,) = [span.attributes for span in spans if span.name == "node late"]
    assert ("skipped", "early") == (late["state"], late["cause"])
    assert not below(spans, "node late")


async def test_ladder(own: Sandbox, receiver: Collector) -> None:
    """A step that is taken is a span, with its rows and the version's call below it."""
    spans = await traced(own, receiver, [0.9, 3.0], 0, 2)
    (step,) = [span.attributes for span in spans if span.name == "fallback version 1.0.0"]
    assert ("1", "1") == (step["rows"], step["answered_rows"])
    assert "batch" in below(spans, "fallback version 1.0.0")
