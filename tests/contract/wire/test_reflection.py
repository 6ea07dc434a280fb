"""Clients that bring no stubs: they ask the server what it has, and call it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.contract.wire.samples import SERVICES
from tests.worlds.mesh import Mesh
from tests.worlds.models import echo
from tests.worlds.resources import tensors
from tests.worlds.sandbox import Sandbox

EXPECTED = {
    "gateway": {"predictmesh.gateway.v1.PredictionService"},
    "features": {"predictmesh.features.v1.FeatureService"},
    "model": {"predictmesh.model.v1.ModelService", "inference.GRPCInferenceService"},
    "registry": {"predictmesh.registry.v1.RegistryService"},
}
EVERYWHERE = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


def listed(address: str) -> set[str]:
    """The services that a server lists."""
    with grpc.insecure_channel(address) as channel:
        return set(ProtoReflectionDescriptorDatabase(channel).get_services())


@pytest.mark.parametrize("service", EXPECTED)
async def test_services_are_listed(mesh: Mesh, service: str) -> None:
    """Each server lists its own, health and reflection."""
    found = await asyncio.to_thread(listed, getattr(mesh.addresses, service))
    assert EXPECTED[service] | EVERYWHERE <= found


def described(address: str, name: str) -> dict[str, tuple[str, str]]:
    """The methods of a service with the types they take and give, as the server describes them."""
    with grpc.insecure_channel(address) as channel:
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        service = pool.FindServiceByName(name)
        return {method.name: (method.input_type.full_name, method.output_type.full_name) for method in service.methods}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.full_name)
async def test_services_are_described(mesh: Mesh, service: Any) -> None:
    """Every method with its messages, down to the last type."""
    address = getattr(mesh.addresses, service.full_name.split(".")[1])
    expected = {method.name: (method.input_type.full_name, method.output_type.full_name) for method in service.methods}
    assert expected == await asyncio.to_thread(described, address, service.full_name)


def predicted(address: str, request: bytes) -> Any:
    """Call Predict with nothing but what the server says of it."""
    with grpc.insecure_channel(address) as channel:
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        method = pool.FindServiceByName("predictmesh.gateway.v1.PredictionService").methods_by_name["Predict"]
        made = message_factory.GetMessageClass(method.input_type).FromString(request)
        call: Any = channel.unary_unary(
            "/predictmesh.gateway.v1.PredictionService/Predict",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        return call(made, timeout=10)


async def test_a_client_without_stubs_predicts(own: Sandbox) -> None:
    """As grpcurl does."""
    await own.serve("plain", echo(x=("FP32", (1,))), {"x": ["request:x"]})
    request = own.request("plain", {}, {"x": [2.5]})
    answer = await asyncio.to_thread(predicted, own.mesh.addresses.gateway, request.SerializeToString())
    assert [2.5] == list(answer.outputs[0].floats)
    assert tensors({"x": [2.5]}) == list(request.features)
