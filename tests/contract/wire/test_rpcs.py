"""Every rpc that a stub offers is answered: with a result, or with a failure that has a reason."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.api import annotations_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from tritonclient.grpc import service_pb2 as oip_pb

from tests.contract.wire.samples import SERVICES
from tests.worlds.failures import failure_of
from tests.worlds.mesh import Mesh

OIP = oip_pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
METHODS = [method for service in (*SERVICES, OIP) for method in service.methods]
# Between our own services; the rest of what is not a stream is for everybody.
INTERNAL = {"GetFeatures", "ReportRuntime", "ReportTraffic", "RecordPredictions", "RecordOutcomes"}
# The Open Inference Protocol as Triton has it, of which some only make sense there.
TRITON_ONLY = {
    "TraceSetting",
    "LogSettings",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
}


def address(mesh: Mesh, method: MethodDescriptor) -> str:
    """Where the method is served."""
    service = method.containing_service.full_name.split(".")[1]
    found: str = getattr(mesh.addresses, service, mesh.addresses.model)
    return found


def call(channel: grpc.aio.Channel, method: MethodDescriptor) -> Any:
    """Call a method with an empty message, or with a stream of none."""
    kind = ("stream" if method.client_streaming else "unary") + "_" + ("stream" if method.server_streaming else "unary")
    stub = getattr(channel, kind)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    request = message_factory.GetMessageClass(method.input_type)()
    return stub(iter(()) if method.client_streaming else request, timeout=10)


async def first(answer: Any, method: MethodDescriptor) -> None:
    """Await an answer, or the first of a stream or its end."""
    if method.server_streaming:
        await answer.read()
        answer.cancel()
    else:
        await answer


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
async def test_every_rpc_is_answered(mesh: Mesh, method: MethodDescriptor) -> None:
    """None is UNIMPLEMENTED by accident, and an empty message is never a fault of ours."""
    async with grpc.aio.insecure_channel(address(mesh, method)) as channel:
        try:
            await first(call(channel, method), method)
        except grpc.aio.AioRpcError as error:
            found = failure_of(error)
        else:
            assert method.name not in TRITON_ONLY
            return
    assert (found.code == "UNIMPLEMENTED") == (method.name in TRITON_ONLY)
    assert found.reason
    assert found.code not in {"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED"}


async def test_a_method_that_nobody_has(mesh: Mesh) -> None:
    """It is told to be unknown."""
    async with grpc.aio.insecure_channel(mesh.addresses.gateway) as channel:
        method: Any = channel.unary_unary("/predictmesh.gateway.v1.PredictionService/Nothing")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(b"", timeout=10)
    assert grpc.StatusCode.UNIMPLEMENTED is caught.value.code()


PUBLIC = [
    method
    for service in SERVICES
    for method in service.methods
    if not method.client_streaming and not method.server_streaming and method.name not in INTERNAL
]


def http_rule(method: MethodDescriptor) -> Any:
    """The google.api.http annotation of a method."""
    options: Any = method.GetOptions()
    return options.Extensions[annotations_pb2.http]


@pytest.mark.parametrize("method", PUBLIC, ids=lambda method: method.full_name)
def test_public_calls_have_a_path_for_http(method: MethodDescriptor) -> None:
    """A proxy can serve them as REST: a path, whose variables are fields of the request, and the body."""
    rule = http_rule(method)
    pattern = rule.WhichOneof("pattern")
    assert pattern in {"get", "post"}
    path = getattr(rule, pattern)
    assert path.startswith("/v1/")
    assert ("" if pattern == "get" else "*") == rule.body
    for variable in (part.split("=")[0].split("}")[0] for part in path.split("{")[1:]):
        kind: Descriptor | None = method.input_type
        for name in variable.split("."):
            assert kind is not None
            kind = kind.fields_by_name[name].message_type


def test_no_two_calls_share_a_path() -> None:
    """Nor do internal calls have one."""
    rules = [http_rule(method) for method in PUBLIC]
    paths = [(rule.WhichOneof("pattern"), rule.get or rule.post) for rule in rules]
    assert len(paths) == len(set(paths))
    others = [method for service in SERVICES for method in service.methods if method not in PUBLIC]
    assert not [method.name for method in others if http_rule(method).WhichOneof("pattern")]
