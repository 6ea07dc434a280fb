"""Calls that share a stream: each gets its own answer, and none is in the way of the others."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh.context import current
from services.mesh.errors import Code, MeshError, Reason
from services.mesh.server import MeshServer
from tests.support.exchanging import LIMIT_S, Gate, apply, counted, exchanging, failure, held
from tests.support.probe import Probe, new_probe, remote, server
from tests.support.waiting import eventually


async def test_answers_come_in_any_order(serving: MeshServer, probe: Probe, one_stream: None) -> None:
    """Each of many calls on a stream gets its own answer, the last ones first too."""
    gates = [asyncio.Event() for _ in range(200)]
    begun = 0

    async def act(request: Any, context: Any) -> None:
        nonlocal begun
        begun += 1
        await gates[request.expected_revision].wait()

    probe.act = act
    answered: list[int] = []
    async with exchanging(serving.address) as stub:

        async def make(number: int) -> None:
            assert number + 1 == await apply(stub, number)
            answered.append(number)

        tasks = [asyncio.create_task(make(number)) for number in range(100)]
        await eventually(lambda: begun == 100)
        for number in reversed(range(100)):
            gates[number].set()
            await eventually(lambda: len(answered) == 100 - number)  # noqa: B023 - called in this turn
        await asyncio.gather(*tasks)
    assert list(reversed(range(100))) == answered


async def test_identity_is_handed_on(serving: MeshServer, probe: Probe) -> None:
    """The trace and the request id of a call reach the handler of the next hop."""
    front_probe, seen = new_probe(), []

    def note() -> None:
        running = current()
        assert running is not None
        seen.append((running.trace_id, running.request_id, running.sampled, running.metadata.get("extra")))

    async with exchanging(serving.address) as stub, server(front_probe) as front, remote(front.address) as caller:

        async def forward(request: Any, context: Any) -> None:
            note()
            await stub.Apply(registry_pb.ApplyRequest(), timeout=15, metadata=(("extra", "x"),))

        async def receive(request: Any, context: Any) -> None:
            note()

        front_probe.act, probe.act = forward, receive
        trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        metadata = (("traceparent", f"00-{trace}-{span}-01"), ("x-request-id", "order-66"), ("extra", "x"))
        await caller.Apply(registry_pb.ApplyRequest(), timeout=15, metadata=metadata)
    assert [(trace, "order-66", True, "x")] * 2 == seen


async def test_a_caller_who_leaves_while_sending_leaves_the_others_alone(
    serving: MeshServer, probe: Probe, one_stream: None
) -> None:
    """Cancelled at any moment, a call takes no other on the stream with it."""
    gate = Gate(probe)
    async with exchanging(serving.address) as stub, held(stub, gate) as (slow,):
        for moment in range(12):
            leaving = asyncio.create_task(apply(stub, actor="slow"))
            for _ in range(moment):
                await asyncio.sleep(0)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
        await eventually(lambda: gate.held == 1)
        gate.open.set()
        assert 5 == await slow


async def test_an_answer_that_crosses_a_cancellation(answering: Probe, one_stream: None) -> None:
    """A call that is cancelled while its answer is on its way does the stream no harm."""
    gate = Gate(answering)
    async with server(answering) as serving, exchanging(serving.address) as stub, held(stub, gate) as (slow,):
        for moment in range(0, 90, 3):
            leaving = asyncio.create_task(apply(stub, reason="1000000"))
            for _ in range(moment):
                await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        gate.open.set()
        assert 5 == await slow


async def test_the_time_is_over_before_the_stream_is_open() -> None:
    """A call ends in time when nobody takes its request."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        async with exchanging(f"{host}:{port}") as stub, asyncio.timeout(LIMIT_S):
            with pytest.raises(MeshError) as error:
                await stub.Apply(registry_pb.ApplyRequest(), timeout=0.02)
    assert (Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED) == (error.value.code, error.value.reason)


async def test_method_that_nobody_has_leaves_the_streams_alone(
    serving: MeshServer, one_stream: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An UNIMPLEMENTED method is not an UNIMPLEMENTED stream."""
    opened = counted(monkeypatch)
    async with exchanging(serving.address) as stub:
        with pytest.raises(MeshError) as error:
            await stub.Delete(registry_pb.DeleteRequest(), timeout=15)
        assert 5 == await apply(stub)
    assert (Code.UNIMPLEMENTED, 1) == (error.value.code, len(opened))


async def test_large_request_goes_by_itself(serving: MeshServer, probe: Probe, one_stream: None) -> None:
    """It holds nobody up on the stream; one that is too large fails alone."""
    gate = Gate(probe)
    async with exchanging(serving.address) as stub, held(stub, gate) as (slow,):
        assert 5 == await apply(stub, reason="x" * 3_000_000)
        with pytest.raises(MeshError) as error:
            await apply(stub, reason="x" * 17_000_000)
        assert Code.RESOURCE_EXHAUSTED == error.value.code
        gate.open.set()
        assert 5 == await slow


async def test_answer_that_is_too_large_fails_alone(answering: Probe, one_stream: None) -> None:
    """Its caller gets RESOURCE_EXHAUSTED and the sizes; the others on the stream do not notice."""
    gate = Gate(answering)
    async with (
        server(answering, max_message_bytes=20_000) as serving,
        exchanging(serving.address) as stub,
        held(stub, gate) as (slow,),
    ):
        with pytest.raises(MeshError, match=r"response has 200\d\d bytes") as error:
            await apply(stub, reason="20000")
        assert Code.RESOURCE_EXHAUSTED == error.value.code
        for size in range(19_900, 20_000):  # up to the last byte that fits, and those of the message around it
            with suppress(MeshError):
                await apply(stub, reason=str(size))
        gate.open.set()
        assert 5 == await slow


@pytest.mark.parametrize("end", ["server", "client"])
async def test_ends_that_disagree_on_sizes(answering: Probe, one_stream: None, end: str) -> None:
    """What gRPC refuses ends the stream: all who wait may try again, and the next call is answered."""
    gate = Gate(answering)
    limits: dict[str, Any] = {"max_message_bytes": 20_000}
    async with (
        server(answering, **(limits if end == "server" else {})) as serving,
        exchanging(serving.address, **(limits if end == "client" else {})) as stub,
    ):
        fields: dict[str, Any] = {"actor": "x" * 30_000} if end == "server" else {"reason": "30000"}
        async with held(stub, gate) as (slow,):
            with pytest.raises(MeshError, match="larger than max") as error:
                await apply(stub, **fields)
            innocent = await failure(slow)
        assert {Code.UNAVAILABLE} == {error.value.code, innocent.code}
        assert 5 == await apply(stub)


class Wrong(Probe):
    """Answers Apply with what is no message."""

    async def Apply(self, request: Any, context: Any) -> Any:
        return object() if request.actor == "wrong" else await super().Apply(request, context)


async def test_answer_that_is_no_message(one_stream: None, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the handler's that only shows when its answer is written: INTERNAL at once, and a line in the log."""
    async with server(Wrong()) as serving, exchanging(serving.address) as stub, asyncio.timeout(LIMIT_S):  # type: ignore[abstract]
        with pytest.raises(MeshError) as error:
            await apply(stub, actor="wrong")
        assert 5 == await apply(stub)
    assert (Code.INTERNAL, Reason.INTERNAL) == (error.value.code, error.value.reason)
    assert ["unexpected error"] == [each.message for each in caplog.records if each.levelname == "ERROR"]
    caplog.clear()
