"""Connections to replicas: listed ones, and those behind a name; what comes, what goes, what is renewed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.mesh import channel
from services.mesh.channel import open_stub
from services.mesh.connecting import open_connections
from services.mesh.errors import MeshError, Reason
from services.mesh.exchange import client
from services.mesh.server import MeshServer
from tests.support.dns import name_server
from tests.support.exchanging import LIMIT_S, Gate, apply, recovered
from tests.support.link import link
from tests.support.probe import new_probe, remote, server
from tests.support.waiting import eventually


@asynccontextmanager
async def ready(gate: Gate, **settings: Any) -> AsyncIterator[MeshServer]:
    """Serve the gate's probe as a replica that says that it is ready."""
    async with server(gate.probe, **settings) as serving:
        await serving.set_serving(True)
        yield serving


def gates(count: int) -> list[Gate]:
    """Return the gates of so many probes."""
    return [Gate(new_probe()) for _ in range(count)]


def port_of(serving: MeshServer) -> int:
    """Return where it listens."""
    return int(serving.address.rpartition(":")[2])


async def test_listed_replicas_have_a_connection_each() -> None:
    """The calls of a connection are answered by its replica, over one stream."""
    one, two = gates(2)
    async with (
        ready(one) as first,
        ready(two) as second,
        open_connections(f"{first.address},{second.address}", RegistryServiceStub) as connections,
    ):
        assert [first.address, second.address] == [connection.address for connection in connections]
        for connection in connections:
            await asyncio.gather(*(apply(connection.stub) for _ in range(5)))
        assert (5, 5) == (one.calls, two.calls)


async def test_replica_that_is_gone_is_not_reachable_until_it_is_back() -> None:
    """Who chooses a replica knows of a lost connection without a call, and of the next one too."""
    gate = Gate(new_probe())
    async with ready(gate) as serving:
        opened = open_connections(serving.address, RegistryServiceStub)
        (connection,) = await opened.__aenter__()
        await eventually(lambda: connection.reachable)
        assert 5 == await apply(connection.stub)
    try:
        await eventually(lambda: not connection.reachable)
        async with ready(gate, grpc_port=port_of(serving)):
            await eventually(lambda: connection.reachable)
            assert 5 == await apply(connection.stub)
    finally:
        await opened.__aexit__(None, None, None)


async def test_a_connection_that_nothing_comes_over_any_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where several replicas may be at its other end, and whatever time its calls have: by unanswered pings."""
    monkeypatch.setattr(channel, "KEEPALIVE_S", 1)
    monkeypatch.setattr(channel, "PING_TIMEOUT_S", 3)
    async with (
        ready(Gate(new_probe())) as serving,
        link("127.0.0.1", port_of(serving)) as between,
        open_stub(between.address, RegistryServiceStub) as stub,
    ):
        assert 5 == await recovered(stub)
        between.part()
        async with asyncio.timeout(LIMIT_S):
            with pytest.raises(MeshError) as lost:
                await stub.Apply(registry_pb.ApplyRequest(), timeout=10 * LIMIT_S)
        assert Reason.UPSTREAM_UNAVAILABLE is lost.value.reason


async def test_nothing_is_under_way_between_calls_on_demand() -> None:
    """A proxy that counts what is under way finds nothing, so that it may end the service; a server's end waits for nobody."""
    gate = Gate(new_probe())
    async with (
        ready(gate) as serving,
        open_connections(serving.address, RegistryServiceStub, standing=False) as (connection,),
    ):
        assert 5 == await apply(connection.stub)
        assert serving._exchange is not None
        assert (1, 0) == (gate.calls, serving._exchange.calls)
        async with asyncio.timeout(LIMIT_S):
            await serving.stop(10 * LIMIT_S)


async def test_draining_replica_is_not_reachable() -> None:
    """A replica that says that it is not ready any more is known for it before it refuses a call."""
    async with (
        ready(Gate(new_probe())) as serving,
        open_connections(serving.address, RegistryServiceStub) as (connection,),
    ):
        assert 5 == await apply(connection.stub)
        await eventually(lambda: connection.reachable)
        await serving.set_serving(False)
        await eventually(lambda: not connection.reachable)
        await serving.set_serving(True)
        await eventually(lambda: connection.reachable)


async def test_replica_that_joins_a_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections end with their age, and each new one has the name looked up: a new replica gets calls; none fails."""
    monkeypatch.setattr(client, "RENEWED_AFTER_S", 0.2)
    old, new = gates(2)
    async with name_server() as names, ready(old, max_connection_age_s=1) as serving:
        names.hosts = ["127.0.0.1"]
        port = port_of(serving)
        async with (
            open_connections(names.target(port), RegistryServiceStub) as (connection,),
            ready(new, host="127.0.0.2", grpc_port=port, max_connection_age_s=1),
        ):
            await recovered(connection.stub)
            names.hosts = ["127.0.0.1", "127.0.0.2"]
            async with asyncio.timeout(LIMIT_S):
                while new.calls < 20:
                    assert 5 == await apply(connection.stub)
                    await asyncio.sleep(0.001)


async def test_name_is_looked_up_when_its_replicas_are_gone() -> None:
    """When all replicas of a name have been replaced the new ones are found within seconds."""
    old, new = gates(2)
    async with name_server() as names:
        async with ready(old) as serving:
            names.hosts = ["127.0.0.1"]
            port = port_of(serving)
            opened = open_connections(names.target(port), RegistryServiceStub)
            (connection,) = await opened.__aenter__()
            await recovered(connection.stub)
        try:
            async with ready(new, host="127.0.0.2", grpc_port=port):
                names.hosts = ["127.0.0.2"]
                assert 5 == await recovered(connection.stub)
        finally:
            await opened.__aexit__(None, None, None)
    assert 1 <= new.calls


@pytest.mark.parametrize("exchange", [True, False], ids=["streams", "calls"])
async def test_connection_that_ends_with_its_age_fails_no_call(exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who calls all the time notices nothing of the many times that he is connected anew."""
    monkeypatch.setattr(client, "RENEWED_AFTER_S", 0.2)
    async with ready(Gate(new_probe()), max_connection_age_s=1) as serving, asyncio.timeout(LIMIT_S):
        answers = await asyncio.gather(*(_called_for(2.6, serving.address, exchange=exchange) for _ in range(12)))
    assert {5} == set().union(*answers)


async def _called_for(seconds: float, address: str, *, exchange: bool) -> set[int]:
    """Return what calls over a connection of their own are answered, one after the other."""
    answers = set()
    async with remote(address, exchange=exchange) as stub:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answers.add(await apply(stub))
    return answers


async def test_call_outlives_its_connection() -> None:
    """What is under way when a connection has reached its age goes on to its end there; later calls take a new one."""
    gate, peers = Gate(probe := new_probe()), set()
    numbers: asyncio.Queue[int] = asyncio.Queue()

    async def watch(request: Any, context: Any) -> AsyncIterator[registry_pb.WatchSnapshotResponse]:
        while True:
            yield registry_pb.WatchSnapshotResponse(revision=await numbers.get())

    async def act(request: Any, context: Any) -> None:
        peers.add(context.peer())  # a connection of its own is told by its port
        if isinstance(request, registry_pb.ApplyRequest):
            await hold(request, context)

    hold, probe.act, probe.watch = probe.act, act, watch
    async with ready(gate, max_connection_age_s=1) as serving, remote(serving.address) as stub:
        watching = stub.WatchSnapshot(registry_pb.WatchSnapshotRequest())
        numbers.put_nowait(1)
        assert 1 == (await anext(watching)).revision
        slow = asyncio.create_task(apply(stub, actor="slow"))
        await eventually(lambda: gate.held == 1)
        before = len(peers)
        async with asyncio.timeout(LIMIT_S):
            while len(peers) < before + 2:
                assert 5 == await apply(stub)
                await asyncio.sleep(0.01)
        gate.open.set()
        assert 5 == await slow
        numbers.put_nowait(2)
        assert 2 == (await anext(watching)).revision
        await watching.aclose()
