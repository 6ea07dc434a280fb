"""A version that answers calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

from services.model.batcher import Batcher
from services.model.calls import Answer, InferCall
from services.model.counters import CallCounters
from services.model.schedule import Limits
from services.model.station import Station
from services.model.versions import Version


class Serving:
    """A version, the runtimes that it has, and the calls under way. Enter it for the time of a call."""

    def __init__(self, version: Version, limits: Limits) -> None:
        self.version = version
        self._batcher = Batcher(version.signature, limits)
        self._calls = 0
        self._idle = asyncio.Event()

    @property
    def stations(self) -> Sequence[Station]:
        """Where it is computed, the first choice first."""
        return self._batcher.stations

    @property
    def platform(self) -> str:
        """What computes it, as the Open Inference Protocol's metadata names it."""
        return self.stations[0].model.platform

    @property
    def counters(self) -> CallCounters:
        """What its calls have come to so far."""
        return self._batcher.counters

    @property
    def queued_rows(self) -> int:
        """Rows that wait for a batch."""
        return self._batcher.queued_rows

    def use(self, stations: Sequence[Station], first_choice: str) -> None:
        """Compute there from now on; see Batcher."""
        self._batcher.use(stations, first_choice)

    async def infer(self, call: InferCall) -> Answer:
        """Answer a call; errors as in Batcher."""
        return await self._batcher.infer(call)

    async def idle(self) -> None:
        """Wait until no call is under way, nor any batch that calls have left behind."""
        while self._calls:
            self._idle.clear()
            await self._idle.wait()
        await self._batcher.stop()

    def __enter__(self) -> Serving:
        self._calls += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls -= 1
        if not self._calls:
            self._idle.set()
