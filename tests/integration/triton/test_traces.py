"""Spans of Triton join the trace of the call, in the receiver of `up`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
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

TRACES, CALLER = [uuid.uuid4().hex for _ in range(5)], "b7ad6b7169203331"
TRACE = TRACES[0]
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
                for trace in TRACES:
                    triton.infer("m", [ONES], headers={"traceparent": f"00-{trace}-{CALLER}-01"})
                    if await comes(partial(has_three, store, trace)):
                        break
        # Whatever was held back has been sent when it stopped.
        assert {spans[0].trace_id for spans in store.newest(100)} <= set(TRACES)
    assert [("InferRequest", CALLER), ("m", "InferRequest"), ("compute", "m")] == lineage(store, trace)


def has_three(store: TraceStore, trace: str) -> bool:
    """Whether all spans of a call of Triton have come."""
    return len(store.get(trace)) == 3


async def comes(condition: Callable[[], bool]) -> bool:
    """Return whether it does soon: of the exports of Triton's library one in some fifteen is lost."""
    try:
        await eventually(condition, within_s=3)
    except TimeoutError:
        return False
    return True


def lineage(store: TraceStore, trace: str) -> list[tuple[str, str]]:
    """Return each span with its parent, by name where that is a span of Triton's."""
    spans: dict[str, Span] = {span.span_id: span for span in store.get(trace)}
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

            async def predict(trace: str, flags: str) -> None:
                metadata = (("traceparent", f"00-{trace}-{CALLER}-{flags}"),)
                answer = await mesh.gateway.Predict(request, metadata=metadata, timeout=TIMEOUT_S)
                assert ("triton", [3.0]) == (answer.provenance.runtime, values(answer.outputs[0]))

            for _ in range(20):
                await predict(uuid.uuid4().hex, "00")
            traces, spans = TraceClient(tmp_path / "data"), dict[str, Span]()

            def has_come(trace: str) -> bool:
                spans.update({span.span_id: span for span in traces.get(trace, CALLER, 10)})
                return any(span.name == "InferRequest" for span in spans.values())

            for trace in TRACES:
                await predict(trace, "01")
                if await comes(partial(has_come, trace)):
                    break
        kept = {trace["trace_id"] for trace in traces.newest(100)}
    (request_span,) = [span for span in spans.values() if span.name == "InferRequest"]
    assert ("predictmesh-model", "client") == (
        spans[request_span.parent_id].service,
        spans[request_span.parent_id].kind,
    )
    assert kept
    assert kept <= set(TRACES)
