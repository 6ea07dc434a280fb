"""One version on one runtime: brings it up, keeps it up to date, takes it down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

import tenacity
from tenacity.wait import wait_base

from services.mesh.errors import MeshError
from services.model.loader import Loader
from services.model.serving import Serving
from services.model.statuses import RuntimeStatus, State
from services.model.versions import Placement

logger = logging.getLogger(__name__)


class Slot:
    """Loads what it should hold until that succeeds, and answers with what it has meanwhile.

    `changed` is called after every change of `status` or `serving`.
    """

    def __init__(self, placement: Placement, loader: Loader, retry: wait_base, changed: Callable[[], None]) -> None:
        self.serving: Serving | None = None
        self._loader = loader
        self._retry = retry
        self._changed = changed
        self._retiring: set[asyncio.Task[None]] = set()
        self._begin(placement)

    def want(self, placement: Placement) -> None:
        """Hold other content from now on; what is there answers until the new one is warm."""
        if placement != self.placement:
            self._loading.cancel()
            self._begin(placement)

    async def unload(self) -> None:
        """Stop loading, take no more calls, and return when the last one is answered and all is closed."""
        self._loading.cancel()
        self._show(State.UNLOADING)
        self._swap(None)
        await asyncio.gather(self._loading, *self._retiring, return_exceptions=True)

    def _begin(self, placement: Placement) -> None:
        self.placement = placement
        model, version, runtime = placement.key
        self.status = RuntimeStatus(model, version, placement.version.digest, runtime, State.LOADING, time.time())
        self._loading = asyncio.create_task(self._load(placement), name=f"load {placement}")

    async def _load(self, placement: Placement) -> None:
        attempts = tenacity.AsyncRetrying(wait=self._retry, before_sleep=self._failed, reraise=True)
        await attempts(self._attempt, placement)

    async def _attempt(self, placement: Placement) -> None:
        if self.status.state is not State.LOADING:
            self._show(State.LOADING)
        started = time.perf_counter()
        serving = await self._loader.load(placement)
        load_s = time.perf_counter() - started
        self._swap(serving)
        self._show(State.READY, load_time_us=int(load_s * 1e6))
        logger.info("version loaded", extra={"version": str(placement), "load_time_ms": int(load_s * 1e3)})

    def _failed(self, attempt: tenacity.RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        expected = isinstance(error, MeshError)
        message = error.message if isinstance(error, MeshError) else f"{type(error).__name__}: {error}"
        if self.serving:
            message += f"; digest {self.serving.version.digest} keeps answering"
        extra = {"version": str(self.placement), "reason": message, "next_attempt_s": attempt.upcoming_sleep}
        logger.warning("version not loaded", extra=extra, exc_info=None if expected else error)
        self._show(State.FAILED, message)

    def _show(self, state: State, message: str = "", load_time_us: int = 0) -> None:
        self.status = replace(self.status, state=state, message=message, since=time.time(), load_time_us=load_time_us)
        self._changed()

    def _swap(self, serving: Serving | None) -> None:
        old, self.serving = self.serving, serving
        if old:
            task = asyncio.create_task(self._retire(old), name=f"retire {old.placement}")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    @staticmethod
    async def _retire(serving: Serving) -> None:
        try:
            await serving.retire()
        except Exception:
            logger.exception("version not closed cleanly", extra={"version": str(serving.placement)})
        else:
            logger.info("version closed", extra={"version": str(serving.placement)})
