"""Streams to several replicas of one service: those that go, those that come, those that know no streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1 import registry_service_pb2_grpc as registry_grpc
from services.mesh.errors import Code, MeshError
from services.mesh.exchange import client
from tests.support.exchanging import LIMIT_S, Gate, apply, counted, exchanging, recovered
from tests.support.probe import Probe, new_probe, server
from tests.support.waiting import eventually


async def test_replicas_share_the_calls() -> None:
    """Behind one target both replicas get calls."""
    first, second = new_probe(), new_probe()
    gates = [Gate(first), Gate(second)]
    async with (
        server(first) as one,
        server(second) as two,
        exchanging(f"ipv4:{one.address},{two.address}", only_serving=True) as stub,
    ):
        for each in (one, two):
            await each.set_serving(True)
        await recovered(stub)
        async with asyncio.timeout(LIMIT_S):
            while min(gate.calls for gate in gates) < 5:
                await recovered(stub)


async def test_replica_that_comes_back_gets_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams are renewed, so that a replica that was away has its part of the calls again."""
    monkeypatch.setattr(client, "RENEWED_AFTER_S", 0.02)
    probe, other = new_probe(), new_probe()
    async with server(probe) as one, server(other) as two, exchanging(f"ipv4:{one.address},{two.address}") as stub:
        await recovered(stub)
        await two.stop(0)
        await recovered(stub)
        gate = Gate(back := new_probe())
        async with server(back, grpc_port=int(two.address.rsplit(":", 1)[1])):
            async with asyncio.timeout(LIMIT_S):
                while gate.calls < 20:
                    await recovered(stub)


async def test_drain_loses_no_call(probe: Probe) -> None:
    """While a replica drains callers go on elsewhere; no call fails, and the replica is left without a stream."""
    gate, other = Gate(probe), new_probe()
    async with (
        server(probe) as going,
        server(other) as staying,
        exchanging(f"ipv4:{going.address},{staying.address}", only_serving=True) as stub,
    ):
        for each in (going, staying):
            await each.set_serving(True)
        await recovered(stub)
        stop = asyncio.Event()

        async def caller() -> None:
            while not stop.is_set():
                assert 5 == await apply(stub)

        callers = [asyncio.create_task(caller()) for _ in range(16)]
        await eventually(lambda: gate.calls > 100)
        await going.set_serving(False)
        await going.stop(LIMIT_S)
        calls = gate.calls
        for _ in range(50):
            assert 5 == await apply(stub)
        stop.set()
        await asyncio.gather(*callers)
        assert calls == gate.calls


@asynccontextmanager
async def foreign(servicer: Any) -> AsyncIterator[str]:
    """Serve without anything of ours, as another implementation of the same protocol would."""
    serving = grpc.aio.server()
    registry_grpc.add_RegistryServiceServicer_to_server(servicer, serving)
    port = serving.add_insecure_port("127.0.0.1:0")
    await serving.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await serving.stop(0)


async def test_server_of_others_is_called_directly(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not know the streams answers calls all the same, the first ones too, and is asked for streams once."""
    opened = counted(monkeypatch)
    async with foreign(probe) as address, exchanging(address) as stub:
        assert [number + 1 for number in range(20)] == await asyncio.gather(*(apply(stub, n) for n in range(20)))
        assert client.STREAMS == len(opened)
        assert 5 == await apply(stub)
        assert client.STREAMS == len(opened)
        with pytest.raises(MeshError) as error:
            await stub.Delete(registry_pb.DeleteRequest(), timeout=15)
    assert Code.UNIMPLEMENTED == error.value.code
