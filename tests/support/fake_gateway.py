"""What a gateway tells the registry of a release, without the predictions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from predictmesh.registry.v1.release_pb2 import Release
from predictmesh.registry.v1.release_service_pb2 import ReportTrafficRequest
from predictmesh.registry.v1.traffic_pb2 import ArmTotals, Histogram
from services.mesh.background import background
from services.mesh.errors import MeshError
from tests.support.registry import Client

# 2^(80/8) us: about a millisecond.
A_MILLISECOND = 80


@dataclass
class FakeGateway:
    """Counts as a gateway does: totals since it started, by step and version. `failing` versions fail every request."""

    instance_id: str = "gateway-1"
    failing: frozenset[str] = frozenset()
    _requests: Counter[tuple[int, str]] = field(default_factory=Counter)
    _sequence: int = 0

    def serve(self, release: Release, count: int = 10) -> list[ArmTotals]:
        """Answer requests with both versions of a release where it stands; return the totals."""
        for version in (release.stable, release.candidate):
            self._requests[release.step, version] += count
        return [self._totals(release, step, version) for step, version in self._requests]

    def _totals(self, release: Release, step: int, version: str) -> ArmTotals:
        requests = self._requests[step, version]
        failed = version in self.failing
        return ArmTotals(
            endpoint=release.endpoint,
            release_id=release.id,
            step=step,
            version=version,
            requests=requests,
            errors=requests if failed else 0,
            latency=None if failed else Histogram(bins=[A_MILLISECOND], counts=[requests]),
        )

    async def report(self, client: Client, arms: list[ArmTotals]) -> None:
        """Tell the registry."""
        self._sequence += 1
        request = ReportTrafficRequest(instance_id=self.instance_id, sequence=self._sequence, arms=arms)
        await client.releases.ReportTraffic(request)

    async def serve_once(self, client: Client) -> bool:
        """Answer requests as the newest snapshot says, and report; False if there was nobody to ask or no release."""
        try:
            releases = [each for each in (await client.snapshot()).releases if each.state in (1, 2)]
            for release in releases:
                await self.report(client, self.serve(release))
        except MeshError:
            return False
        return bool(releases)


@asynccontextmanager
async def busy(client: Client, gateway: FakeGateway) -> AsyncIterator[None]:
    """The gateway at work for the time of the context, whatever becomes of the registry."""

    async def work() -> None:
        while True:
            await gateway.serve_once(client)
            # The pace of its callers; nothing is waited for.
            await asyncio.sleep(0.01)

    async with background(work()):
        yield
