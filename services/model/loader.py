"""From a definition to a version that answers: fetch, verify, load, warm up."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from services.mesh.errors import DeadlineExceeded
from services.model.artifacts import Artifacts
from services.model.batcher import Batcher, Limits
from services.model.errors import UnknownRuntime
from services.model.runtimes import LoadedModel, Runtime
from services.model.serving import Serving
from services.model.versions import Placement
from services.model.warmup import warm_up


class Loader:
    """Loads a few versions at a time, so that those which answer keep most of the machine."""

    def __init__(
        self, runtimes: Mapping[str, Runtime], artifacts: Artifacts, limits: Limits, *, parallel: int, timeout_s: float
    ) -> None:
        self._runtimes = runtimes
        self._artifacts = artifacts
        self._limits = limits
        self._timeout_s = timeout_s
        self._turn = asyncio.Semaphore(parallel)

    @property
    def runtimes(self) -> Collection[str]:
        """Names of the runtimes of this process."""
        return self._runtimes.keys()

    async def load(self, placement: Placement) -> Serving:
        """Load one version on one runtime; raises what any step raises, or DeadlineExceeded. Nothing is left behind."""
        async with self._turn:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._load(placement)
            except TimeoutError as error:
                raise DeadlineExceeded(f"not loaded within {self._timeout_s} s") from error

    async def retain(self, digests: Collection[str]) -> None:
        """Drop the local artifacts that are not among these."""
        await self._artifacts.retain(digests)

    async def _load(self, placement: Placement) -> Serving:
        runtime = self._runtimes.get(placement.artifact.runtime)
        if runtime is None:
            known = ", ".join(self._runtimes)
            raise UnknownRuntime(f"no runtime {placement.artifact.runtime!r} in this process, it has: {known}")
        sha256 = placement.artifact.sha256
        path = await self._artifacts.path(sha256) if sha256 else None
        model = await runtime.load(placement, path)
        return await self._warmed(placement, runtime, model)

    async def _warmed(self, placement: Placement, runtime: Runtime, model: LoadedModel) -> Serving:
        signature = placement.version.signature
        try:
            await warm_up(model, signature, self._limits.batch_rows)
        except BaseException:
            await model.close()
            raise
        return Serving(placement, runtime, model, Batcher(model, signature, self._limits))
