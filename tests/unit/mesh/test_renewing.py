"""Connections that lead nowhere are replaced, and those of a replica that takes its time are not."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.mesh.connecting import open_connections
from services.mesh.deadline import Deadline
from services.mesh.line import Line
from services.mesh.renewing import PROBE_S, SILENT_S, Renewing
from services.mesh.resilience import Hop
from tests.support.exchanging import LIMIT_S, Gate, apply
from tests.support.link import link
from tests.support.probe import new_probe, server
from tests.support.waiting import eventually


def port_of(address: str) -> int:
    """Return the port of an address."""
    return int(address.rpartition(":")[2])


async def test_calls_over_a_forgotten_connection_are_made_again_over_a_new_one() -> None:
    """As soon as it is silent: they are answered within their time, by the only replica that there is."""
    async with (
        server((gate := Gate(new_probe())).probe) as serving,
        link("127.0.0.1", port_of(serving.address)) as made,
    ):
        await serving.set_serving(True)
        async with open_connections(made.address, RegistryServiceStub) as connections:
            hop = Hop("h", connections)
            assert 5 == await hopped(hop)
            made.forget()
            assert 5 == await hopped(hop)
            assert {"closed"} == set(hop.states().values())
            await hop.stop()
    assert 2 == gate.calls


async def hopped(hop: Hop[Any]) -> int:
    """Call through a hop, with time for several attempts."""
    answer, _ = await hop.call(lambda stub, timeout_s: apply(stub), Deadline.after(LIMIT_S))
    return answer


async def test_replica_that_takes_its_time_keeps_its_connection() -> None:
    """It says that it is well, and the call is answered where it was made."""
    gate = Gate(new_probe())
    async with server(gate.probe) as serving, link("127.0.0.1", port_of(serving.address)) as made:
        await serving.set_serving(True)
        async with open_connections(made.address, RegistryServiceStub) as (connection,):
            hop = Hop("h", [connection])
            stub = connection.stub
            slow = asyncio.create_task(
                hop.call(lambda used, timeout_s: apply(used, actor="slow"), Deadline.after(LIMIT_S))
            )
            await eventually(lambda: gate.held == 1)
            since = connection.silent_since
            assert since
            # Long enough for it to be asked whether it is well, and over a new connection if it were not.
            await asyncio.sleep(SILENT_S + PROBE_S)
            gate.open.set()
            assert 5 == (await slow)[0]
            assert stub is connection.stub
            await hop.stop()


async def test_replica_that_hangs_keeps_its_connection() -> None:
    """A new one says nothing either; the replica goes on where it was."""
    async with server(Gate(new_probe()).probe) as serving, link("127.0.0.1", port_of(serving.address)) as made:
        await serving.set_serving(True)
        async with open_connections(made.address, RegistryServiceStub) as (connection,):
            assert 5 == await apply(connection.stub)
            stub = connection.stub
            made.part()
            assert connection.probe is not None
            assert not await connection.probe(0.5)
            made.join()
            assert await connection.probe(LIMIT_S)
            assert stub is connection.stub


class Sidecar(HealthServicer):
    """Stands before a replica as the proxy of a service mesh does: it takes connections while the replica is away, too."""

    def __init__(self) -> None:
        super().__init__()
        self.away = True
        self.refused = 0

    async def Watch(self, request: Any, context: Any) -> Any:
        """Say that the replica is well, unless it is away."""
        if self.away:
            self.refused += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "upstream connect error")
        return await super().Watch(request, context)

    async def Check(self, request: Any, context: Any) -> Any:
        """Say that the replica is well, unless it is away."""
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "upstream connect error")
        return await super().Check(request, context)


async def test_replica_that_was_away_behind_a_proxy_is_found_by_the_next_probe() -> None:
    """We do not wait for gRPC, which asks a health service that has failed after ever longer, two minutes in the end."""
    proxy, sidecar = grpc.aio.server(), Sidecar()
    add_HealthServicer_to_server(sidecar, proxy)
    port = proxy.add_insecure_port("127.0.0.1:0")
    await proxy.start()
    try:
        async with open_connections(f"127.0.0.1:{port}", RegistryServiceStub) as (connection,):
            assert connection.probe is not None
            # gRPC's next look is four seconds away, then.
            await eventually(lambda: sidecar.refused == 3)
            assert not await connection.probe(PROBE_S)
            sidecar.away = False
            assert await connection.probe(PROBE_S)
            await eventually(lambda: connection.reachable)
    finally:
        await proxy.stop(None)


async def test_replica_is_asked_again_where_asking_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it was that went wrong; its next silence is noticed."""
    asked = 0

    async def probe(timeout_s: float) -> bool:
        nonlocal asked
        asked += 1
        raise RuntimeError("of a kind that nobody has thought of")

    async def opening() -> Line[None]:
        raise AssertionError

    line = Line(grpc.aio.insecure_channel("127.0.0.1:1"), None, probe, AsyncExitStack())
    renewing = Renewing("127.0.0.1:1", line, opening)
    try:
        for times in (1, 2):
            renewing.connection.silent_since = time.monotonic() - 10 - times
            await eventually(lambda times=times: asked == times)  # type: ignore[misc]  # mypy cannot infer it
    finally:
        await renewing.close()
        await line.channel.close()
    assert "of a kind that nobody has thought of" in caplog.text
