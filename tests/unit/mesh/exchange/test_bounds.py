"""No end of a stream keeps more for the other than it may."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import pytest

from predictmesh.mesh.v1.exchange_service_pb2 import Call, ExchangeRequest, ExchangeResponse
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh.errors import Code, DeadlineExceeded, MeshError
from services.mesh.exchange import client
from services.mesh.exchange import server as exchange_server
from services.mesh.exchange.server import Exchange
from services.mesh.server import MeshServer
from tests.support.exchanging import LIMIT_S, Gate, apply, exchanging, held, tasks_of
from tests.support.probe import Probe, servicers
from tests.support.waiting import eventually

MOST = 8


async def test_calls_beyond_the_bound_wait(
    serving: MeshServer, probe: Probe, one_stream: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some at the server, others with their caller, until there is room; then they are answered as well."""
    monkeypatch.setattr(exchange_server, "MAX_CALLS", MOST)
    monkeypatch.setattr(exchange_server, "MAX_WAITING", MOST)
    gate = Gate(probe)
    async with exchanging(serving.address) as stub, held(stub, gate, MOST):
        others = [asyncio.create_task(apply(stub)) for _ in range(3 * MOST)]
        with pytest.raises(DeadlineExceeded):
            await stub.Apply(registry_pb.ApplyRequest(), timeout=0.2)
        assert gate.calls == MOST
        gate.open.set()
        assert [5] * 3 * MOST == await asyncio.gather(*others)


async def test_who_leaves_is_heard_where_there_is_no_room(
    serving: MeshServer, probe: Probe, one_stream: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """His call ends at once, wherever it is: one that waits is never begun, and one under way makes room."""
    monkeypatch.setattr(exchange_server, "MAX_CALLS", MOST)
    gate = Gate(probe)
    async with exchanging(serving.address) as stub, held(stub, gate, MOST) as under_way:
        leaving, staying = (asyncio.create_task(apply(stub, actor=actor)) for actor in ("slow", "quick"))
        await eventually(lambda: len(tasks_of("_Stream._run")) == MOST + 2)
        leaving.cancel()
        await eventually(lambda: len(tasks_of("_Stream._run")) == MOST + 1)
        under_way[0].cancel()
        assert 5 == await staying
        assert (gate.held, gate.calls) == (MOST - 1, MOST + 1)
        gate.open.set()
        assert [5] * (MOST - 1) == await asyncio.gather(*under_way[1:])


class Unread:
    """The context of a stream whose caller reads nothing until he is told to."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.written: list[ExchangeResponse] = []

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {}

    def invocation_metadata(self) -> tuple[()]:
        return ()

    async def write(self, response: ExchangeResponse) -> None:
        await self.reads.wait()
        self.written.append(response)


async def test_answers_that_are_not_read_are_bounded(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not read his answers is not answered any more, and gets every one once he reads."""
    monkeypatch.setattr(exchange_server, "MAX_CALLS", MOST)
    monkeypatch.setattr(exchange_server, "MAX_WAITING", MOST)
    calls = 5 * MOST
    asked = 0

    async def requests() -> AsyncIterator[Any]:
        nonlocal asked
        for number in range(1, calls + 1):
            asked = number
            request = registry_pb.ApplyRequest().SerializeToString()
            yield ExchangeRequest(
                id=number, call=Call(method="/predictmesh.registry.v1.RegistryService/Apply", request=request)
            )

    exchange = Exchange(
        [method for servicer in servicers(probe) for method in servicer.methods()], max_message_bytes=4096
    )
    context: Any = Unread()
    serving = asyncio.create_task(exchange.serve(requests(), context))
    await eventually(lambda: exchange.calls == MOST and asked == 2 * MOST + 1)
    context.reads.set()
    async with asyncio.timeout(LIMIT_S):
        await serving
    assert set(range(1, calls + 1)) == {response.id for response in context.written}


async def test_a_server_that_reads_nothing_is_called_no_more(one_stream: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has not been sent is bounded; beyond that calls fail at once, UNAVAILABLE, and may go elsewhere."""
    monkeypatch.setattr(client, "MAX_UNSENT", MOST)

    # The kernel accepts connections, and nobody ever reads them.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with exchanging(f"127.0.0.1:{port}") as stub:
            calls = [asyncio.create_task(apply(stub)) for _ in range(3 * MOST)]
            done, waiting = await asyncio.wait(calls, timeout=LIMIT_S, return_when=asyncio.FIRST_EXCEPTION)
            errors = [call.exception() for call in done]
            for call in waiting:
                call.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
    assert errors
    assert {Code.UNAVAILABLE} == {error.code for error in errors if isinstance(error, MeshError)}
    assert len(waiting) >= MOST
