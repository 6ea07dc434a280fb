"""A second API package beside gateway.v1: on the same flow, in the same chain, and without a change of the first."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_tools import protoc

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.gateway.v1.provenance_pb2 import RouteReason
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.gateway.outcomes import OutcomeFlow
from services.gateway.predict import PredictFlow
from services.gateway.request import Column, PredictCall
from services.gateway.server import apis
from services.gateway.settings import Settings
from services.gateway.traffic import Traffic
from services.mesh import context as calls
from services.mesh.admission.gate import Gate
from services.mesh.admission.limit import AdaptiveLimit
from services.mesh.lifecycle import Service, serving
from services.mesh.methods import Servicer
from tests.support.predictions import StoredRow, endpoint, release, snapshot, version, view
from tests.support.quality import MemoryQuality
from tests.unit.gateway.world import World

PROTO = """
syntax = "proto3";
package predictmesh.gateway.v2;

// One row, as names and values.
service FlatService {
  rpc Predict(FlatRequest) returns (FlatResponse);
}
message FlatRequest {
  string endpoint = 1;
  map<string, string> keys = 2;
}
message FlatResponse {
  map<string, double> outputs = 1;
  string version = 2;
  string why = 3;
}
"""
TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """The messages and the stubs of the second package."""
    directory = tmp_path_factory.mktemp("v2")
    (directory / "flat_service.proto").write_text(PROTO)
    out = str(directory)
    code = protoc.main(["", f"-I{out}", f"--python_out={out}", f"--grpc_python_out={out}", "flat_service.proto"])
    assert code == 0
    sys.path.insert(0, out)
    try:
        yield importlib.import_module("flat_service_pb2"), importlib.import_module("flat_service_pb2_grpc")
    finally:
        sys.path.remove(out)


class FlatServicer:
    """All that a package needs: decode, call, encode."""

    def __init__(self, flow: PredictFlow, messages: Any) -> None:
        self._flow = flow
        self._messages = messages

    async def Predict(self, request: Any, context: object) -> Any:
        running = calls.current()
        assert running is not None
        keys = [Column(name, "strings", [value]) for name, value in request.keys.items()]
        now_us = time.time_ns() // 1000
        call = PredictCall(request.endpoint, "", keys, [], now_us, "", running.deadline)
        prediction = await self._flow.run(call)
        named = zip(prediction.route.target.outputs, prediction.outcome.outputs, strict=True)
        return self._messages.FlatResponse(
            outputs={output.name: float(values[0, 0]) for output, values in named},
            version=prediction.route.target.version,
            why=prediction.route.reason.name,
        )


@asynccontextmanager
async def gateway(directory: Path, v2: tuple[Any, Any], traffic: Traffic) -> AsyncIterator[grpc.aio.Channel]:
    """Serve both packages of one flow, whose endpoint has a release under way."""
    messages, stubs = v2
    world = World({"a": StoredRow({"rider:a": 2.0})}, traffic)
    versions = [version({"x:FP32": ["rider:a"]}, number=number, digest=number) for number in ("1.0.0", "1.1.0")]
    defined = snapshot(
        view("rider", "a:FP32"),
        versions=versions,
        endpoints=[endpoint({"version": "1.0.0"}, sticky_key="rider_id")],
        releases=[release("1.0.0", "1.1.0", 50, 100)],
    )
    table = world.tables.build(defined)
    traffic.use(table)
    world.flow.use(table)

    async def settle(prediction_id: str) -> None:
        """Do nothing."""

    settings = Settings(grpc_port=0, http_port=0, data_dir=directory, grace_s=1)
    second = Servicer(stubs.add_FlatServiceServicer_to_server, FlatServicer(world.flow, messages))
    served = [
        *apis(world.flow, OutcomeFlow(MemoryQuality(), settle), settings, Gate(AdaptiveLimit(100)), asyncio.Event()),
        second,
    ]
    service = Service(name="gateway", servicers=served, ready=lambda: "", status=dict)
    async with serving(service, settings) as addresses, grpc.aio.insecure_channel(addresses.grpc) as channel:
        yield channel


async def test_both_answer_alike(tmp_path: Path, v2: tuple[Any, Any]) -> None:
    """The same request is routed, answered and counted alike, whichever package it comes by."""
    messages, stubs = v2
    traffic = Traffic()
    async with gateway(tmp_path, v2, traffic) as channel:
        first = await PredictionServiceStub(channel).Predict(
            PredictRequest(endpoint="m", entities=[Tensor(name="rider_id", strings=["a"])]), timeout=TIMEOUT_S
        )
        second = await stubs.FlatServiceStub(channel).Predict(
            messages.FlatRequest(endpoint="m", keys={"rider_id": "a"}), timeout=TIMEOUT_S
        )
    assert {"y": 3.0} == dict(second.outputs)
    assert list(first.outputs[0].floats) == [3.0]
    reason = RouteReason.Name(first.provenance.route_reason).removeprefix("ROUTE_REASON_")
    assert (first.provenance.version, reason) == (second.version, second.why)
    assert [(second.version, 2)] == [(each.arm.version, each.requests) for each in traffic.changed()]


async def test_failures_carry_their_reason(tmp_path: Path, v2: tuple[Any, Any]) -> None:
    """A package gets codes, reasons and field paths from the chain, and need not know of them."""
    messages, stubs = v2
    async with gateway(tmp_path, v2, Traffic()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stubs.FlatServiceStub(channel).Predict(messages.FlatRequest(endpoint="m"), timeout=TIMEOUT_S)
    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
    (packed,) = [value for key, value in caught.value.trailing_metadata() or () if key == "grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status_pb2.Status.FromString(packed).details)
    assert "MISSING_KEY" == info.reason
