"""Calls of the probe over streams that stay open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1 import registry_service_pb2_grpc as registry_grpc
from services.mesh.channel import open_stub
from services.mesh.errors import Code, MeshError
from services.mesh.exchange import client
from tests.support.probe import Probe
from tests.support.waiting import eventually

LIMIT_S = 20


def exchanging(address: str, **options: Any) -> Any:
    """Open a stub whose calls go over streams."""
    return open_stub(address, registry_grpc.RegistryServiceStub, exchange=True, **options)


async def apply(stub: Any, number: int = 4, **fields: Any) -> int:
    """Make a call; its result is one more than `number`."""
    revision: int = (
        await stub.Apply(registry_pb.ApplyRequest(expected_revision=number, **fields), timeout=15)
    ).revision
    return revision


async def recovered(stub: Any) -> int:
    """Call until a call is answered, and return its result; those before may only fail with UNAVAILABLE."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await apply(stub)
            except MeshError as error:
                if error.code is not Code.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.01)


class Gate:
    """Holds up the calls of the actor "slow" until it is opened."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.held = 0
        self.open = asyncio.Event()
        self.calls = 0
        probe.act = self._act

    async def _act(self, request: Any, context: Any) -> None:
        self.calls += 1
        if request.actor == "slow":
            self.held += 1
            try:
                await self.open.wait()
            finally:
                self.held -= 1


@asynccontextmanager
async def held(stub: Any, gate: Gate, count: int = 1) -> AsyncIterator[list[asyncio.Task[int]]]:
    """Have `count` calls under way, each of which hangs in its handler."""
    tasks = [asyncio.create_task(apply(stub, actor="slow")) for _ in range(count)]
    before = gate.held
    await eventually(lambda: gate.held == before + count)
    async with asyncio.timeout(LIMIT_S):
        yield tasks


async def failure(task: asyncio.Task[int]) -> MeshError:
    """Return what a call failed with."""
    with pytest.raises(MeshError) as error:
        await task
    return error.value


class Answering(Probe):
    """Answers with as many bytes as the reason of the request says."""

    async def Apply(self, request: Any, context: Any) -> registry_pb.ApplyResponse:
        response = await super().Apply(request, context)
        response.changes.add(name="x" * int(request.reason or 0))
        return response


def new_answering() -> Probe:
    """Return a probe for large answers."""
    return Answering()  # type: ignore[abstract]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of all streams that will have been opened."""
    opened: list[Any] = []

    class Counted(client._Exchange):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            opened.append(self)

    monkeypatch.setattr(client, "_Exchange", Counted)
    return opened


def tasks_of(name: str) -> list[Any]:
    """Return the tasks that run the coroutine function of that name."""
    return [task for task in asyncio.all_tasks() if name in getattr(task.get_coro(), "__qualname__", "")]
