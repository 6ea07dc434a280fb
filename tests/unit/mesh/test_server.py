"""What a real server adds: identity in metadata, malformed bytes, health, reflection, limits."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh.context import CallContext, current, parse_traceparent
from services.mesh.errors import Code, InvalidArgument, MeshError, Reason
from services.mesh.server import MeshServer, PortTaken
from services.mesh.status import from_rpc_error
from tests.support.probe import Probe, Settings, new_probe, remote, server

APPLY = "/predictmesh.registry.v1.RegistryService/Apply"
UPLOAD = "/predictmesh.registry.v1.RegistryService/UploadArtifact"
WATCH = "/predictmesh.registry.v1.RegistryService/WatchSnapshot"
STREAM = "/predictmesh.features.v1.FeatureService/StreamFeatures"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CAUSE = "the cause, which stays in the log"
MALFORMED = b"\x0a\xff\xff\xff\xff\x0fnot a message"


@pytest.fixture
def probe() -> Probe:
    """The servicer that is called."""
    return new_probe()


@pytest.fixture
async def serving(probe: Probe) -> AsyncIterator[MeshServer]:
    """A server on a free port."""
    async with server(probe) as serving:
        yield serving


@pytest.fixture
async def channel(serving: MeshServer) -> AsyncIterator[grpc.aio.Channel]:
    """A channel as a foreign client has it: nothing of ours in it."""
    async with grpc.aio.insecure_channel(serving.address) as channel:
        yield channel


async def send(channel: grpc.aio.Channel, path: str, request: bytes, **options: Any) -> Any:
    """Make a call with raw bytes, and return it when it has ended, however it did."""
    call: Any
    if path in {WATCH, STREAM}:
        open_stream: Any = channel.unary_stream(path) if path == WATCH else channel.stream_stream(path)
        call = open_stream(request if path == WATCH else iter([request]), timeout=30, **options)
        with suppress(grpc.aio.AioRpcError):
            [answer async for answer in call]
    else:
        make: Any = channel.stream_unary(path) if path == UPLOAD else channel.unary_unary(path)
        call = make(iter([request]) if path == UPLOAD else request, timeout=30, **options)
    await call.code()
    return call


async def failure(call: Any) -> MeshError:
    """Return the error that a call ended with."""
    code, details, trailing = await call.code(), await call.details(), await call.trailing_metadata()
    return from_rpc_error(grpc.aio.AioRpcError(code, await call.initial_metadata(), trailing, details))


each_path = pytest.mark.parametrize("path", [APPLY, UPLOAD, WATCH, STREAM])


@each_path
async def test_request_id_is_accepted_and_returned(channel: grpc.aio.Channel, probe: Probe, path: str) -> None:
    """The caller's id comes back after the answer, and after a failure."""

    async def fail(request: Any, context: Any) -> None:
        raise InvalidArgument("bad")

    metadata = (("x-request-id", "order-66"),)
    answered = await send(channel, path, b"", metadata=metadata)
    assert grpc.StatusCode.OK == await answered.code()
    probe.act = fail
    failed = await send(channel, path, b"", metadata=metadata)
    assert grpc.StatusCode.INVALID_ARGUMENT == await failed.code()
    for call in (answered, failed):
        assert "order-66" == (await call.trailing_metadata())["x-request-id"]


@each_path
async def test_request_id_is_made(channel: grpc.aio.Channel, probe: Probe, path: str) -> None:
    """Without an id the trace id serves, and each call has its own."""
    seen: list[CallContext] = []

    async def act(request: Any, context: Any) -> None:
        running = current()
        assert running is not None
        seen.append(running)

    probe.act = act
    returned = [(await (await send(channel, path, b"")).trailing_metadata())["x-request-id"] for _ in range(2)]
    assert [call.request_id for call in seen] == returned == [call.trace_id for call in seen]
    assert returned[0] != returned[1]
    assert re.fullmatch("[0-9a-f]{32}", returned[0])


async def test_long_request_id_is_cut(channel: grpc.aio.Channel) -> None:
    """An id is an id, not a message."""
    call = await send(channel, APPLY, b"", metadata=(("x-request-id", "x" * 5000),))
    assert "x" * 128 == (await call.trailing_metadata())["x-request-id"]


@pytest.mark.parametrize("flags", ["00", "01"])
async def test_trace_goes_on_over_two_hops(flags: str) -> None:
    """Caller, first and second service share the trace id, the decision and the request id."""
    first, second = new_probe(), new_probe()
    seen: list[CallContext] = []

    def note() -> None:
        running = current()
        assert running is not None
        seen.append(running)

    async with server(second) as behind, remote(behind.address) as stub, server(first) as front:

        async def forward(request: Any, context: Any) -> None:
            note()
            await stub.Apply(registry_pb.ApplyRequest(), timeout=30)
            [answer async for answer in stub.WatchSnapshot(registry_pb.WatchSnapshotRequest(), timeout=30)]

        async def receive(request: Any, context: Any) -> None:
            note()

        first.act, second.act = forward, receive
        metadata = (("traceparent", f"00-{TRACE}-{SPAN}-{flags}"), ("x-request-id", "order-66"))
        async with grpc.aio.insecure_channel(front.address) as channel:
            assert grpc.StatusCode.OK == await (await send(channel, APPLY, b"", metadata=metadata)).code()
    assert 3 == len(seen)
    assert {(TRACE, flags == "01", "order-66")} == {(call.trace_id, call.sampled, call.request_id) for call in seen}


async def test_new_trace_is_the_same_in_both_hops() -> None:
    """A trace that begins here is handed on with a span id that the next hop accepts."""
    first, second = new_probe(), new_probe()
    seen: list[CallContext] = []

    async with server(second) as behind, remote(behind.address) as stub, server(first) as front:

        async def forward(request: Any, context: Any) -> None:
            await receive(request, context)
            await stub.Apply(registry_pb.ApplyRequest(), timeout=30)

        async def receive(request: Any, context: Any) -> None:
            running = current()
            assert running is not None
            seen.append(running)

        first.act, second.act = forward, receive
        async with remote(front.address) as stub_of_front:
            await stub_of_front.Apply(registry_pb.ApplyRequest(), timeout=30)
    assert seen[0].trace_id == seen[1].trace_id
    assert ("", False) == (seen[0].span_id, seen[0].sampled)
    assert parse_traceparent(f"00-{TRACE}-{seen[1].span_id}-00") is not None


async def test_broken_traceparent_begins_a_new_trace(channel: grpc.aio.Channel) -> None:
    """A header that is none does not fail the call."""
    call = await send(channel, APPLY, b"", metadata=(("traceparent", "00-zz-yy-01"),))
    assert grpc.StatusCode.OK == await call.code()


@each_path
async def test_malformed_bytes(channel: grpc.aio.Channel, path: str) -> None:
    """Bytes that are not the message are the caller's fault, in every kind of call, and keep the request id."""
    call = await send(channel, path, MALFORMED, metadata=(("x-request-id", "order-66"),))
    error = await failure(call)
    assert (Code.INVALID_ARGUMENT, Reason.MALFORMED_MESSAGE) == (error.code, error.reason)
    assert "order-66" == (await call.trailing_metadata())["x-request-id"]


async def test_text_that_is_not_utf8_is_malformed(channel: grpc.aio.Channel) -> None:
    """A string field with other bytes in it is refused like any malformed message."""
    request = registry_pb.ApplyRequest(actor="xx").SerializeToString().replace(b"xx", b"\xff\xfe")
    assert Reason.MALFORMED_MESSAGE == (await failure(await send(channel, APPLY, request))).reason


async def test_unexpected_exception_is_logged_with_the_trace(
    channel: grpc.aio.Channel, probe: Probe, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller holds the key to the log line: the request id."""
    traces: list[str] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            running = current()
            traces.append(running.trace_id if running is not None else "")

    async def act(request: Any, context: Any) -> None:
        raise ValueError(CAUSE)

    probe.act = act
    noting = Noting(logging.ERROR)
    logging.getLogger("services.mesh").addHandler(noting)
    try:
        call = await send(channel, APPLY, b"", metadata=(("traceparent", f"00-{TRACE}-{SPAN}-00"),))
    finally:
        logging.getLogger("services.mesh").removeHandler(noting)
    assert [TRACE] == traces
    assert CAUSE in caplog.text
    error = await failure(call)
    assert (Code.INTERNAL, Reason.INTERNAL) == (error.code, error.reason)
    assert CAUSE not in str(await call.trailing_metadata()) + error.message


async def test_unknown_method(channel: grpc.aio.Channel) -> None:
    """GRPC itself answers for a method that nobody serves; our client still gives it a reason."""
    call: Any = channel.unary_unary("/predictmesh.registry.v1.RegistryService/Nothing")
    error = await failure(call(b"", timeout=30))
    assert (Code.UNIMPLEMENTED, Reason.UNKNOWN_METHOD) == (error.code, error.reason)


async def test_oversized_message_is_refused(probe: Probe) -> None:
    """A request above the limit never reaches the handler."""
    called = False

    async def act(request: Any, context: Any) -> None:
        nonlocal called
        called = True

    probe.act = act
    async with server(probe, max_message_bytes=10_000) as serving, remote(serving.address) as stub:
        with pytest.raises(MeshError) as error:
            await stub.Apply(registry_pb.ApplyRequest(actor="x" * 20_000), timeout=30)
        assert (Code.RESOURCE_EXHAUSTED, False) == (error.value.code, called)
        await stub.Apply(registry_pb.ApplyRequest(actor="x" * 5_000), timeout=30)


async def health(channel: grpc.aio.Channel, service: str) -> int:
    """Return what the health service says of a service."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
    return int(answer.status)


async def test_health_follows_serving(serving: MeshServer, channel: grpc.aio.Channel) -> None:
    """Every service, and the server as a whole, are NOT_SERVING until told otherwise, and again when draining."""
    names = ("", "predictmesh.registry.v1.RegistryService", "predictmesh.features.v1.FeatureService")
    not_serving, is_serving = health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING
    assert {not_serving} == {await health(channel, name) for name in names}
    await serving.set_serving(True)
    assert {is_serving} == {await health(channel, name) for name in names}
    await serving.set_serving(False)
    assert {not_serving} == {await health(channel, name) for name in names}
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await health(channel, "no.such.Service")
    assert grpc.StatusCode.NOT_FOUND == error.value.code()


def _reflect(address: str) -> tuple[list[str], list[str], list[str]]:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        services = list(database.get_services())
        registry = pool.FindServiceByName("predictmesh.registry.v1.RegistryService")
        snapshot = pool.FindMessageTypeByName("predictmesh.registry.v1.Snapshot")
        return services, list(registry.methods_by_name), list(snapshot.fields_by_name)


async def test_reflection_describes_the_services(serving: MeshServer) -> None:
    """A client without our protos learns the services, their methods and messages."""
    services, methods, fields = await asyncio.to_thread(_reflect, serving.address)
    assert {
        "predictmesh.registry.v1.RegistryService",
        "predictmesh.features.v1.FeatureService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    } == set(services)
    expected = registry_pb.DESCRIPTOR.services_by_name["RegistryService"].methods_by_name
    assert list(expected) == methods
    assert {"revision", "log_id"} <= set(fields)


async def test_taken_port_is_an_error(serving: MeshServer) -> None:
    """A second server does not share the port in silence."""
    port = int(serving.address.rsplit(":", 1)[1])
    with pytest.raises(PortTaken, match=str(port)):
        MeshServer(Settings(grpc_port=port))


async def test_calls_under_way_end_within_the_grace(probe: Probe) -> None:
    """A stopping server lets the calls under way end."""
    begun, gate = asyncio.Event(), asyncio.Event()

    async def act(request: Any, context: Any) -> None:
        begun.set()
        await gate.wait()

    probe.act = act
    async with server(probe) as serving, remote(serving.address) as stub:
        under_way = asyncio.create_task(stub.Apply(registry_pb.ApplyRequest(expected_revision=4), timeout=30))
        async with asyncio.timeout(10):
            await begun.wait()
            stopping = asyncio.create_task(serving.stop(10))
            await asyncio.sleep(0)
            gate.set()
            assert 5 == (await under_way).revision
            await stopping
        with pytest.raises(MeshError) as error:
            await stub.Apply(registry_pb.ApplyRequest(), timeout=30)
    assert Code.UNAVAILABLE == error.value.code


async def test_fields_of_a_newer_peer_are_passed_over(channel: grpc.aio.Channel) -> None:
    """A request with fields that this version does not know is answered."""
    request = features_pb.StreamFeaturesRequest(sequence=1).SerializeToString() + b"\xfa\x3e\x03new"
    call = await send(channel, STREAM, request)
    assert grpc.StatusCode.OK == await call.code()
