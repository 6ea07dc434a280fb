"""Calls are taken from the network ahead, and no more of them than there is room for."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh.accepting import AHEAD, AcceptingServer
from services.mesh.admission.gate import Gate
from services.mesh.admission.limit import AdaptiveLimit
from tests.support.probe import new_probe, server
from tests.support.waiting import eventually

APPLY = "/predictmesh.registry.v1.RegistryService/Apply"
LIMIT_S = 30


async def outcome(channel: grpc.aio.Channel, priority: str = "normal") -> grpc.StatusCode:
    """Make a call and return its status."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(APPLY, None, None)
    try:
        await call(registry_pb.ApplyRequest().SerializeToString(), timeout=LIMIT_S, metadata=[("x-priority", priority)])
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.fixture
async def echo() -> AcceptingServer:
    """A server that is not started, whose one method sends back what it gets."""

    async def answer(request: bytes, context: object) -> bytes:
        return request

    made = AcceptingServer([])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
    made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(APPLY.split("/")[1], {"Apply": handler}),))
    return made


async def test_calls_are_asked_for_before_they_come(echo: AcceptingServer) -> None:
    """This release of gRPC lets us: from the start on, and again for each that has come."""
    port = echo.add_insecure_port("127.0.0.1:0")
    await echo.start()
    await eventually(lambda: echo.asked == AHEAD)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        found = await asyncio.gather(*(outcome(channel) for _ in range(5 * AHEAD)))
        assert {grpc.StatusCode.OK} == set(found)
        await eventually(lambda: echo.asked == AHEAD)
    await echo.stop(0)
    await eventually(lambda: echo.asked == 0)


async def test_without_room_the_core_refuses() -> None:
    """What cannot be taken waits in a short queue, or is refused at once; with room again, what waits is answered."""
    probe, held, go_on = new_probe(), asyncio.Event(), asyncio.Event()

    async def act(request: object, context: object) -> None:
        held.set()
        await go_on.wait()

    probe.act = act
    gate = Gate(AdaptiveLimit(1), refusals_per_s=1e-3)
    async with server(probe, gates={APPLY: gate}) as serving, grpc.aio.insecure_channel(serving.address) as channel:
        first = asyncio.create_task(outcome(channel))
        async with asyncio.timeout(LIMIT_S):
            await held.wait()
        found: Counter[grpc.StatusCode] = Counter()
        calls = [asyncio.create_task(outcome(channel)) for _ in range(300)]
        for call in calls:
            call.add_done_callback(lambda done: found.update([done.result()]))
        await eventually(lambda: found[grpc.StatusCode.CANCELLED] >= 200, within_s=LIMIT_S)
        go_on.set()
        assert await first is grpc.StatusCode.OK
        await asyncio.gather(*calls)
    assert found[grpc.StatusCode.OK] > 0
    assert {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED} >= set(found)
