"""From a definition to a version that answers: fetch, verify, load, warm up, compare with what was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import partial

from services.mesh.errors import DeadlineExceeded
from services.model.artifacts import Artifacts
from services.model.errors import UnknownRuntime
from services.model.golden import GoldenSets
from services.model.runtimes import LoadedModel, Runtime
from services.model.schedule import Limits
from services.model.station import Station
from services.model.versions import Placement


class Loader:
    """Loads a few versions at a time on each runtime, so that those which answer keep most of the machine.

    One that hangs, as a server elsewhere may, takes no turn of another's.
    """

    def __init__(
        self,
        runtimes: Mapping[str, Runtime],
        artifacts: Artifacts,
        golden_sets: GoldenSets,
        limits: Limits,
        *,
        parallel: int,
        timeout_s: float,
    ) -> None:
        self._runtimes = runtimes
        self._artifacts = artifacts
        self._golden_sets = golden_sets
        self.limits = limits
        self._timeout_s = timeout_s
        self._turns = {name: asyncio.Semaphore(parallel) for name in runtimes}

    @property
    def runtimes(self) -> Collection[str]:
        """Names of the runtimes of this process."""
        return self._runtimes.keys()

    async def load(self, placement: Placement) -> Station:
        """Load one version on one runtime; raises what any step raises, or DeadlineExceeded. Nothing is left behind."""
        runtime = self._runtimes.get(placement.artifact.runtime)
        if runtime is None:
            known = ", ".join(self._runtimes)
            raise UnknownRuntime(f"no runtime {placement.artifact.runtime!r} in this process, it has: {known}")
        async with self._turns[placement.artifact.runtime]:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._load(placement, runtime)
            except TimeoutError as error:
                raise DeadlineExceeded(f"not loaded within {self._timeout_s} s") from error

    async def retain(self, digests: Collection[str]) -> None:
        """Drop the local artifacts that are not among these."""
        await self._artifacts.retain(digests)

    async def _load(self, placement: Placement, runtime: Runtime) -> Station:
        sha256 = placement.artifact.sha256
        path = await self._artifacts.path(sha256) if sha256 else None
        model = await runtime.load(placement, path)
        return await self._warmed(placement, model)

    async def _warmed(self, placement: Placement, model: LoadedModel) -> Station:
        version, most_rows = placement.version, self.limits.batch_rows
        prove = partial(self._golden_sets.verdict, version, most_rows=most_rows) if version.golden else None
        station = Station(placement, model, prove)
        try:
            await station.warm(most_rows)
        except BaseException:
            await model.close()
            raise
        return station
