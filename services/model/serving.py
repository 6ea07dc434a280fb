"""A version that answers calls."""

from __future__ import annotations

import asyncio
from types import TracebackType

from services.model.batcher import Batcher
from services.model.calls import Answer, InferCall
from services.model.counters import Counters
from services.model.runtimes import LoadedModel, Runtime
from services.model.versions import Placement, Version


class Serving:
    """A loaded model and the calls that it has. Enter it for the time of a call: it is not closed before the exit."""

    def __init__(self, placement: Placement, runtime: Runtime, model: LoadedModel, batcher: Batcher) -> None:
        self.placement = placement
        self.runtime = runtime
        self._model = model
        self._batcher = batcher
        self._calls = 0
        self._idle = asyncio.Event()

    @property
    def version(self) -> Version:
        """The version that it answers with."""
        return self.placement.version

    @property
    def platform(self) -> str:
        """What computes it, as the protocol's metadata names it."""
        return self._model.platform

    @property
    def counters(self) -> Counters:
        """What it has done so far."""
        return self._batcher.counters

    async def infer(self, call: InferCall) -> Answer:
        """Answer a call; errors as in Batcher."""
        return await self._batcher.infer(call)

    async def retire(self) -> None:
        """Wait for the calls that it has, then close the model. Nobody may enter it any more."""
        if self._calls:
            self._idle.clear()
            await self._idle.wait()
        await self._model.close()

    def __enter__(self) -> Serving:
        self._calls += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls -= 1
        if not self._calls:
            self._idle.set()
