"""A registry with many definitions and the gateways that follow it, as processes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.mesh.channel import open_stub
from services.registry.definitions import Endpoint
from tests.bench.release.definitions import VERSIONS, events, history, routed
from tests.support.registry import Client
from tests.worlds.parts import Part

# Seldom enough to leave the gateways most of their time, and often enough to say when within a twentieth of the budget.
ASK_EVERY_S = 0.01
LIMIT_S = 60.0


@dataclass(frozen=True)
class Change:
    """One endpoint was led to another version: milliseconds until the call was answered, and until gateways had it."""

    answered_ms: float
    gateways_ms: Sequence[float]

    @property
    def everywhere_ms(self) -> float:
        """Until the last gateway had it."""
        return max(self.gateways_ms)


@dataclass(frozen=True)
class Cost:
    """CPU of one change, milliseconds: of the registry, and of one gateway."""

    registry_ms: float
    gateway_ms: float


@dataclass
class Fleet:
    """The processes, and the `revision` that the registry is at."""

    registry: Part
    gateways: list[Part]
    client: Client
    endpoints: int
    revision: int

    async def change(self) -> Change:
        """Lead an endpoint to another version, and watch for it at every gateway."""
        start = time.perf_counter()
        following = [asyncio.create_task(_follows(each, self.revision + 1)) for each in self.gateways]
        await self._apply()
        answered = time.perf_counter()
        reached = await asyncio.gather(*following)
        return Change((answered - start) * 1000, [(at - start) * 1000 for at in reached])

    async def cost(self, changes: int, pause_s: float) -> Cost:
        """Change some endpoints while nobody asks, with pauses in which each reaches the gateways."""
        idle = await self._cpu_of(lambda: asyncio.sleep(changes * pause_s))
        busy = await self._cpu_of(lambda: self._changes(changes, pause_s))
        registry, *gateways = [(after - before) * 1000 / changes for before, after in zip(idle, busy, strict=True)]
        return Cost(registry, sum(gateways) / len(gateways))

    async def _changes(self, changes: int, pause_s: float) -> None:
        for _ in range(changes):
            await self._apply()
            await asyncio.sleep(pause_s)

    async def _cpu_of(self, work: Callable[[], Awaitable[None]]) -> list[float]:
        """CPU seconds of each process while the work is done."""
        processes = [psutil.Process(_pid(each)) for each in (self.registry, *self.gateways)]
        before = [sum(each.cpu_times()[:2]) for each in processes]
        await work()
        return [sum(each.cpu_times()[:2]) - was for each, was in zip(processes, before, strict=True)]

    async def _apply(self) -> None:
        response = await self.client.apply(self._next())
        assert response.revision == self.revision + 1
        self.revision = response.revision

    def _next(self) -> Endpoint:
        """The endpoint and the version of the next change; never those that it has."""
        turn, index = divmod(self.revision, self.endpoints)
        return routed(index, f"1.{1 + turn % (VERSIONS - 1)}.0")


@asynccontextmanager
async def fleet(directory: Path, endpoints: int, gateways: int) -> AsyncIterator[Fleet]:
    """Run them for the time of the context."""
    objects = {"objects": f"file://{directory / 'objects'}"}
    registry = Part("registry", directory / "registry", objects)
    peers = {**objects, "registry": registry.address}
    followers = [Part("gateway", directory / f"gateway-{number}", peers) for number in range(gateways)]
    async with AsyncExitStack() as stack:
        for part in (registry, *followers):
            stack.callback(part.kill)
        registry.start()
        await registry.until_ready()
        client = Client(await stack.enter_async_context(open_stub(registry.address, RegistryServiceStub)))
        await client.upload()
        loaded = await client.load(events(history(endpoints)))
        for part in followers:
            part.start()
        for part in followers:
            await part.until_ready()
            await _follows(part, loaded.revision)
        yield Fleet(registry, followers, client, endpoints, loaded.revision)


async def _follows(gateway: Part, revision: int) -> float:
    """When the gateway was seen to have the revision."""
    async with asyncio.timeout(LIMIT_S):
        while await _revision(gateway) < revision:  # noqa: ASYNC110 - nobody tells when a gateway has it
            await asyncio.sleep(ASK_EVERY_S)
    return time.perf_counter()


async def _revision(gateway: Part) -> int:
    """The revision by which a gateway routes, as it says itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    try:
        writer.write(b"GET /statusz HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        return int(json.loads(answer.partition(b"\r\n\r\n")[2])["snapshot_revision"])
    finally:
        writer.close()


def _pid(part: Part) -> int:
    assert part.process is not None
    return part.process.pid
