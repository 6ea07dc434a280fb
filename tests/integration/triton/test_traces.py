"""Spans of Triton join the trace of the call, in the receiver of `up`."""

from __future__ import annotations

import uuid
from pathlib import Path

import tritonclient.grpc as client

from services.cli.traces.client import TraceClient
from services.cli.traces.receiver import receiving
from services.cli.traces.spans import Span
from services.cli.traces.store import TraceStore
from tests.support.onnx_models import linear
from tests.support.triton import installed_triton, triton_server
from tests.support.triton_models import put, tensor
from tests.support.valkey import free_port
from tests.support.waiting import eventually
from tests.worlds.mesh import connect
from tests.worlds.resources import values
from tests.worlds.sandbox import TIMEOUT_S, Sandbox
from tests.worlds.up import up

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ONES = tensor("x", "FP32", [[1.0] * 16])


async def test_spans_join_the_trace(tmp_path: Path) -> None:
    """A call that brings a trace has its steps in Triton shown below the caller's; other calls leave no spans."""
    http = f"127.0.0.1:{free_port()}"
    with receiving(f"127.0.0.1:{free_port()}", http) as store:
        async with triton_server(tmp_path, otlp_url=f"http://{http}/v1/traces") as server:
            with client.InferenceServerClient(server.grpc) as triton:
                put(server, "m", linear())
                triton.load_model("m")
                for _ in range(20):
                    triton.infer("m", [ONES])
                triton.infer("m", [ONES], headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
                await eventually(lambda: len(store.get(TRACE)) == 3)
        # Whatever was held back has been sent when it stopped.
        assert [TRACE] == [spans[0].trace_id for spans in store.newest(100)]
    assert [("InferRequest", CALLER), ("m", "InferRequest"), ("compute", "m")] == lineage(store)


def lineage(store: TraceStore) -> list[tuple[str, str]]:
    """Return each span with its parent, by name where that is a span of Triton's."""
    spans: dict[str, Span] = {span.span_id: span for span in store.get(TRACE)}
    assert {"predictmesh-triton"} == {span.service for span in spans.values()}
    return [
        (span.name, spans[span.parent_id].name if span.parent_id in spans else span.parent_id)
        for span in sorted(spans.values(), key=lambda span: span.start_ns)
    ]


async def test_a_receiver_that_is_away(tmp_path: Path) -> None:
    """Without it calls are answered as ever."""
    async with triton_server(tmp_path, otlp_url=f"http://127.0.0.1:{free_port()}/v1/traces") as server:
        with client.InferenceServerClient(server.grpc) as triton:
            put(server, "m", linear())
            triton.load_model("m")
            answer = triton.infer("m", [ONES], headers={"traceparent": f"00-{TRACE}-{CALLER}-01"}, client_timeout=5)
            assert [[16.0]] == answer.as_numpy("y").tolist()


async def test_a_prediction(tmp_path: Path) -> None:
    """The steps in Triton of a prediction that is sampled are shown below the model service's; others leave none."""
    installed_triton()
    with up(tmp_path, "--trace-sample-ratio", "0", triton="required") as running:
        async with connect(running.addresses) as mesh:
            own = Sandbox(mesh)
            await own.model("m")
            await own.register("m", "1.0.0", linear(width=2), {"x": ["request:a", "request:b"]}, runtimes=["triton"])
            await own.until_runtime("m", "1.0.0")
            await own.endpoint("m", "m", version="1.0.0")
            request = own.request("m", {}, {"a": [1.0], "b": [2.0]})
            for flags in ["00"] * 20 + ["01"]:
                metadata = (("traceparent", f"00-{TRACE if flags == '01' else uuid.uuid4().hex}-{CALLER}-{flags}"),)
                answer = await mesh.gateway.Predict(request, metadata=metadata, timeout=TIMEOUT_S)
                assert ("triton", [3.0]) == (answer.provenance.runtime, values(answer.outputs[0]))
        traces = TraceClient(tmp_path / "data")
        spans = {span.span_id: span for span in traces.get(TRACE, CALLER, 10)}
        kept = [trace["trace_id"] for trace in traces.newest(100)]
    (request_span,) = [span for span in spans.values() if span.name == "InferRequest"]
    assert ("predictmesh-model", "client") == (
        spans[request_span.parent_id].service,
        spans[request_span.parent_id].kind,
    )
    assert [TRACE] == kept
