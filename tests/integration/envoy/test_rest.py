"""`predictmesh envoy` before two gateways: REST, grpc-web and gRPC on one port."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from google.rpc.code_pb2 import DEADLINE_EXCEEDED

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from tests.integration.envoy.conftest import Edge
from tests.integration.envoy.requests import PREDICT, RIDER, framed, frames, message, path, predicted
from tests.worlds.failures import failure
from tests.worlds.sandbox import Sandbox
from tests.worlds.up import command

WEB = {"content_type": "application/grpc-web+proto", "x_grpc_web": "1"}


async def test_prediction_by_rest_is_that_by_grpc(edge: Edge, own: Sandbox) -> None:
    """The answer of POST /v1/endpoints/NAME:predict, with the request id that the caller has given."""
    answer = await edge.rest.post(path(own), RIDER, x_request_id="mine")
    assert (200, "application/json", "mine") == (
        answer.status,
        answer.headers["content-type"],
        answer.headers["x-request-id"],
    )
    assert [30] == predicted(answer)
    made = answer.json["provenance"]
    assert (own.full("ride"), "1.0.0", "onnx") == (made["model"], made["version"], made["runtime"])


async def test_what_else_is_for_callers_is_there(edge: Edge, own: Sandbox) -> None:
    """Explain, the list of endpoints with a sample to send, and outcomes."""
    explained = (await edge.rest.post(path(own, "explain"), {"request": RIDER})).json
    assert ["VALUE_ORIGIN_STORE"] == [each["origin"] for each in explained["inputs"]]
    listed = {each["name"]: each for each in (await edge.rest.get("/v1/endpoints")).json["endpoints"]}
    sample = listed[own.full("ride")]["sample"]
    assert 200 == (await edge.rest.post(path(own), sample)).status
    outcome = await edge.rest.post("/v1/outcomes", {"predictionId": "nobody's", "label": 1})
    assert (404, "UNKNOWN_PREDICTION") == (outcome.status, outcome.reason)


async def test_metadata_are_headers(edge: Edge, own: Sandbox) -> None:
    """A version is asked for as by gRPC."""
    pinned = await edge.rest.post(path(own), RIDER, x_model_version="1.0.0")
    assert "ROUTE_REASON_PIN_REQUEST" != pinned.json["provenance"]["routeReason"]
    missing = await edge.rest.post(path(own), RIDER, x_model_version="9.9.9")
    assert (404, "UNKNOWN_VERSION") == (missing.status, missing.reason)


async def test_faults_are_told_with_reason_and_field(edge: Edge, own: Sandbox) -> None:
    """As JSON, with the status of HTTP that stands for the code."""
    unknown = await edge.rest.post(path(own, endpoint="nobody"), RIDER)
    assert (404, "UNKNOWN_ENDPOINT") == (unknown.status, unknown.reason)
    keyless = await edge.rest.post(path(own), {})
    assert (400, "MISSING_KEY") == (keyless.status, keyless.reason)
    violations = [each["fieldViolations"] for each in keyless.json["details"] if "fieldViolations" in each]
    assert [["entities"]] == [[each["field"] for each in found] for found in violations]


async def test_deadline_is_that_of_the_header(edge: Edge, own: Sandbox) -> None:
    """grpc-timeout; one so short has passed before the gateway could say why."""
    late = await edge.rest.post(path(own), RIDER, grpc_timeout="1u")
    assert (504, DEADLINE_EXCEEDED) == (late.status, late.json["code"])
    assert 200 == (await edge.rest.post(path(own), RIDER, grpc_timeout="20S")).status


async def test_what_envoy_refuses_is_json(edge: Edge, own: Sandbox) -> None:
    """Broken JSON, a parameter that there is not, and other paths."""
    broken = await edge.rest.post(path(own), b"{")
    parameter = await edge.rest.get("/v1/endpoints?nmae=x")
    elsewhere = await edge.rest.get("/v1/releases")
    assert [400, 400, 404] == [each.status for each in (broken, parameter, elsewhere)]
    assert all(each.json["message"] for each in (broken, parameter, elsewhere))


async def test_browser_asks_by_grpc_web(edge: Edge, own: Sandbox) -> None:
    """The answer is a message and its trailers; a failure has its reason in them."""
    answer = await edge.rest.post(PREDICT, framed(message(own).SerializeToString()), **WEB)
    (kind, body), (last, trailers) = frames(answer.body)
    assert (0, 128) == (kind, last)
    assert [30] == list(gateway_pb.PredictResponse.FromString(body).outputs[0].floats)
    assert b"grpc-status:0\r\n" in trailers
    failed = await edge.rest.post(PREDICT, framed(b""), **WEB)
    assert "grpc-status-details-bin" in failed.headers or b"grpc-status-details-bin" in failed.body


async def test_pages_of_known_origins_may_ask(edge: Edge) -> None:
    """And no others; they may read what says why a call has failed."""
    wish = {"access-control-request-method": "POST"}
    asked = [
        await asyncio.to_thread(edge.rest.ask, "OPTIONS", PREDICT, None, {"origin": origin, **wish})
        for origin in ("http://localhost:3000", "https://elsewhere.example.com")
    ]
    assert "http://localhost:3000" == asked[0].headers["access-control-allow-origin"]
    assert "grpc-status-details-bin" in asked[0].headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in asked[1].headers


async def test_grpc_passes_with_all_that_it_says(edge: Edge, own: Sandbox) -> None:
    """Calls, streams, and details of failures."""
    async with grpc.aio.insecure_channel(edge.address) as channel:
        stub = PredictionServiceStub(channel)
        assert [30] == list((await stub.Predict(message(own), timeout=10)).outputs[0].floats)

        async def two() -> AsyncIterator[gateway_pb.PredictStreamRequest]:
            for name in ("a", "b"):
                yield gateway_pb.PredictStreamRequest(id=name, request=message(own))

        answers = {each.id async for each in stub.PredictStream(two(), timeout=10)}
        assert {"a", "b"} == answers
        assert "UNKNOWN_ENDPOINT" == (await failure(stub.Predict(own.request("nobody"), timeout=10))).reason


async def test_taken_port_is_an_error(edge: Edge, tmp_path: Path) -> None:
    """A second one on the port says so, instead of taking a part of the calls."""
    line = command("envoy", "--listen", edge.address, "--data", str(tmp_path))
    done = await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, timeout=60, check=False)
    assert 1 == done.returncode
    assert "Address already in use" in done.stderr
    assert "" == done.stdout
