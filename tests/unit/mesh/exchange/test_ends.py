"""How streams of calls end: drained, killed, renewed, closed; and which server they go to."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from services.mesh.errors import Code, MeshError, Reason
from services.mesh.exchange import client
from services.mesh.server import MeshServer
from tests.support.exchanging import LIMIT_S, Gate, apply, counted, exchanging, failure, held, recovered, tasks_of
from tests.support.probe import Probe, new_probe, server
from tests.support.waiting import eventually


async def test_nobody_listens(one_stream: None) -> None:
    """A call fails at once, UNAVAILABLE, and recovers with the server."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with exchanging(f"127.0.0.1:{port}") as stub:
        with pytest.raises(MeshError) as error:
            await apply(stub)
        assert (Code.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE) == (error.value.code, error.value.reason)
        async with server(new_probe(), grpc_port=port):
            assert 5 == await recovered(stub)


async def test_drain_waits_for_calls_under_way(serving: MeshServer, probe: Probe, one_stream: None) -> None:
    """A drain ends the stream after its last answer; the next call does not wait for it but opens another."""
    gate = Gate(probe)
    async with exchanging(serving.address) as stub, held(stub, gate, 3) as slow:
        stopping = asyncio.create_task(serving.stop(LIMIT_S))
        await eventually(lambda: refused(serving.address))
        assert Code.UNAVAILABLE == (await first_failure(stub)).code
        assert not stopping.done()
        gate.open.set()
        assert [5, 5, 5] == await asyncio.gather(*slow)
        await stopping
        async with server(new_probe(), grpc_port=int(serving.address.rsplit(":", 1)[1])):
            assert 5 == await recovered(stub)


async def first_failure(stub: Any) -> MeshError:
    """Call until a call fails: what is called before the client has heard of a drain is answered."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await apply(stub)
            except MeshError as error:
                return error


def refused(address: str) -> bool:
    """Return whether nobody listens there."""
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


async def test_grace_ends_a_call_that_hangs(serving: MeshServer, probe: Probe, one_stream: None) -> None:
    """A drain takes no longer than the grace; who still waits gets UNAVAILABLE, and the handler ends."""
    gate = Gate(probe)
    async with exchanging(serving.address) as stub, held(stub, gate, 3) as slow:
        await serving.stop(0.1)
        assert {Code.UNAVAILABLE} == {(await failure(task)).code for task in slow}
        await eventually(lambda: gate.held == 0)


async def test_server_is_killed(probe: Probe) -> None:
    """Everybody who waits gets UNAVAILABLE at once, and calls are answered again when the server is back."""
    gate = Gate(probe)
    async with server(probe) as serving, exchanging(serving.address) as stub:
        async with held(stub, gate, 12) as slow:
            await serving.stop(0)
            assert {Code.UNAVAILABLE} == {(await failure(task)).code for task in slow}
        await eventually(lambda: gate.held == 0)
        async with server(new_probe(), grpc_port=int(serving.address.rsplit(":", 1)[1])):
            assert 5 == await recovered(stub)


async def test_renewed_streams_leave_nothing_behind(
    serving: MeshServer, probe: Probe, one_stream: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retired stream answers what is under way and ends, with its tasks, at both ends."""
    gate = Gate(probe)
    opened = counted(monkeypatch)
    async with exchanging(serving.address) as stub:
        async with held(stub, gate, 2) as slow:
            monkeypatch.setattr(client, "RENEWED_AFTER_S", -1)
            for _ in range(10):
                assert 5 == await apply(stub)
            monkeypatch.undo()
            assert 5 == await apply(stub)
            gate.open.set()
            assert [5, 5] == await asyncio.gather(*slow)
        first = opened[0]
        await eventually(lambda: all(each._reading.done() and each._writing.done() for each in opened[:-1]))
        await eventually(lambda: len(tasks_of("_Stream._read")) == 1)
        assert 1 == len(tasks_of("_Exchange._read"))
        assert first.worn()
    await eventually(lambda: not tasks_of("_Exchange._read") + tasks_of("_Exchange._write") + tasks_of("_Stream._read"))


async def test_closing_ends_calls_under_way(serving: MeshServer, probe: Probe) -> None:
    """Who closes the channel ends every call, retired streams' too, with UNAVAILABLE or as cancelled."""
    gate = Gate(probe)
    async with exchanging(serving.address) as stub, held(stub, gate, 8) as slow:
        pass
    ended = await asyncio.gather(*slow, return_exceptions=True)
    assert all(isinstance(each, MeshError) and each.code is Code.UNAVAILABLE for each in ended)
    await eventually(lambda: gate.held == 0 and not tasks_of("_Exchange."))
