"""One version on one runtime: brings it up, keeps it up to date, takes it down."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import tenacity
from tenacity.wait import wait_base

from services.mesh.errors import MeshError, Reason
from services.model.golden import Verdict
from services.model.loader import Loader
from services.model.station import Station
from services.model.statuses import RuntimeStatus, State
from services.model.versions import Placement

logger = logging.getLogger(__name__)

# A runtime that is away may come back at any time, and to look costs little.
_AWAY_S = (0.5, 1.5)


class Slot:
    """Loads what it should hold until that succeeds, and answers with what it has meanwhile.

    `changed` is called after every change of `status` or `station`; `release` with a station that it has no more, to
    return when nobody uses that.
    """

    def __init__(
        self,
        placement: Placement,
        loader: Loader,
        retry: wait_base,
        changed: Callable[[], None],
        release: Callable[[Station], Awaitable[None]],
    ) -> None:
        self.station: Station | None = None
        self._loader = loader
        self._retry = retry
        self._changed = changed
        self._release = release
        self._load_time_us = 0
        self._ending: set[asyncio.Task[None]] = set()
        self._away = False
        self._begin(placement)

    def want(self, placement: Placement) -> None:
        """Hold other content from now on; what is there answers until the new one is warm."""
        if placement != self.placement:
            self._loading.cancel()
            self._keep(self._loading)
            self._begin(placement)

    async def unload(self) -> None:
        """Stop loading, take no more calls, and return when the last one is answered and all is closed."""
        self._loading.cancel()
        self._show(State.UNLOADING)
        self._swap(None)
        await asyncio.gather(self._loading, *self._ending, return_exceptions=True)

    def _begin(self, placement: Placement) -> None:
        self.placement = placement
        model, version, runtime = placement.key
        self.status = RuntimeStatus(model, version, placement.version.digest, runtime, State.LOADING, time.time())
        self._loading = asyncio.create_task(self._load(placement), name=f"load {placement}")

    async def _load(self, placement: Placement) -> None:
        if self.station and self._is_up():
            # It has stayed while other content was wanted that has not come.
            self._health(self.station, "" if self.station.well else "the runtime is failing")
            return
        attempts = tenacity.AsyncRetrying(wait=self._wait_s, before_sleep=self._failed, reraise=True)
        await attempts(self._attempt, placement)

    async def _attempt(self, placement: Placement) -> None:
        if self.status.state is not State.LOADING and not self._away:
            self._show(State.LOADING)
        started = time.perf_counter()
        station = await self._loader.load(placement)
        load_s = time.perf_counter() - started
        station.on_health = lambda trouble: self._health(station, trouble)
        station.on_golden = lambda: self._judged(station)
        self._load_time_us = int(load_s * 1e6)
        self._swap(station)
        self._show(State.READY)
        logger.info("version loaded", extra={"version": str(placement), "load_time_ms": int(load_s * 1e3)})

    def _wait_s(self, attempt: tenacity.RetryCallState) -> float:
        return random.uniform(*_AWAY_S) if _is_away(attempt) else self._retry(attempt)  # noqa: S311 - jitter

    def _failed(self, attempt: tenacity.RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        expected = isinstance(error, MeshError)
        message = error.message if isinstance(error, MeshError) else f"{type(error).__name__}: {error}"
        if self.station:
            message += f"; digest {self.station.placement.version.digest} keeps answering"
        self._away = _is_away(attempt)
        if (self.status.state, self.status.message) == (State.FAILED, message):
            # A runtime that is still away is asked too often to tell each time.
            return
        extra = {"version": str(self.placement), "reason": message, "next_attempt_s": attempt.upcoming_sleep}
        logger.warning("version not loaded", extra=extra, exc_info=None if expected else error)
        self._show(State.FAILED, message)

    def _health(self, station: Station, trouble: str) -> None:
        """Show a loaded version as failed for as long as its runtime fails; former content is not what is shown."""
        if station is self.station and self._is_up():
            self._show(State.FAILED if trouble else State.READY, trouble)

    def _judged(self, station: Station) -> None:
        """Show what a loaded version's golden set has come to since."""
        if station is self.station and self._is_up():
            self.status = replace(self.status, golden=station.golden.state, golden_message=station.golden.message)
            self._changed()

    def _show(self, state: State, message: str = "") -> None:
        station = self.station if self._is_up() else None
        golden = station.golden if station else Verdict()
        self.status = replace(
            self.status,
            state=state,
            message=message,
            since=time.time(),
            load_time_us=self._load_time_us if station else 0,
            golden=golden.state,
            golden_message=golden.message,
        )
        self._changed()

    def _is_up(self) -> bool:
        """Whether what it holds is what it should hold."""
        return self.station is not None and self.station.placement == self.placement

    def _swap(self, station: Station | None) -> None:
        old, self.station = self.station, station
        if old:
            self._keep(asyncio.create_task(self._retire(old), name=f"retire {old.placement}"))

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Keep what ends by itself until it has."""
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _retire(self, station: Station) -> None:
        try:
            await self._release(station)
            await station.close()
        except Exception:
            logger.exception("version not closed cleanly", extra={"version": str(station.placement)})
        else:
            logger.info("version closed", extra={"version": str(station.placement)})


def _is_away(attempt: tenacity.RetryCallState) -> bool:
    error = attempt.outcome.exception() if attempt.outcome else None
    return isinstance(error, MeshError) and error.reason is Reason.UPSTREAM_UNAVAILABLE
