"""Calls that are no requests at all: malformed, too large, too late."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from tests.worlds.failures import failure
from tests.worlds.resources import values
from tests.worlds.sandbox import TIMEOUT_S, Sandbox

GOOD = {"rider_id": ["a"], "number": [1]}
GOOD_TRIP = {"path": [[1.0, 2.0]], "count": [1]}
MIB = 2**20


async def test_a_request_larger_than_the_limit(trips: Sandbox) -> None:
    """More than 16 MiB are refused by gRPC itself; the connection lives on."""
    request = trips.request("trip", {"rider_id": ["x" * (17 * MIB)], "number": [1]}, GOOD_TRIP)
    found = await failure(trips.mesh.gateway.Predict(request, timeout=TIMEOUT_S))
    assert ("RESOURCE_EXHAUSTED", "") == (found.code, found.reason)
    assert [1.0] == values((await trips.predict("trip", GOOD, GOOD_TRIP)).outputs[0])


async def test_a_deadline_that_has_passed(trips: Sandbox) -> None:
    """A call without any time left is not answered."""
    request = trips.request("trip", GOOD, GOOD_TRIP)
    assert "DEADLINE_EXCEEDED" == (await failure(trips.mesh.gateway.Predict(request, timeout=-1))).code


MALFORMED = {
    "no protobuf": b"\xff\xff\xff\xff",
    "cut in the middle": gateway_pb.PredictRequest(endpoint="endpoint").SerializeToString()[:-3],
    "not UTF-8": b"\x0a\x02\xc3\x28",
    "a length beyond the end": b"\x0a\x7f",
}
METHODS = [
    "/predictmesh.gateway.v1.PredictionService/Predict",
    "/predictmesh.features.v1.FeatureService/WriteFeatures",
    "/predictmesh.registry.v1.RegistryService/Apply",
    "/inference.GRPCInferenceService/ModelInfer",
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_bytes_that_are_no_message(own: Sandbox, method: str, data: bytes) -> None:
    """Malformed bytes and text that is not UTF-8 are the caller's fault, and no text of a parser comes back."""
    addresses = own.mesh.addresses
    service = method.split(".")[1]
    address = {"gateway": addresses.gateway, "features": addresses.features, "registry": addresses.registry}
    async with grpc.aio.insecure_channel(address.get(service, addresses.model)) as channel:
        call: Any = channel.unary_unary(method)
        found = await failure(call(data, timeout=TIMEOUT_S))
    assert ("INVALID_ARGUMENT", "MALFORMED_MESSAGE") == (found.code, found.reason)
    assert method in found.message


async def test_a_stream_with_bytes_that_are_no_message(own: Sandbox) -> None:
    """It ends with the reason."""
    async with grpc.aio.insecure_channel(own.mesh.addresses.gateway) as channel:
        method: Any = channel.stream_stream("/predictmesh.gateway.v1.PredictionService/PredictStream")
        call = method(timeout=TIMEOUT_S)
        await call.write(b"\xff\xff\xff\xff")
        found = await failure(call.read())
    assert ("INVALID_ARGUMENT", "MALFORMED_MESSAGE") == (found.code, found.reason)
