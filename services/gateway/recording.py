"""Keeping predictions for their outcomes: off the callers' path, in batches, and no more than there is room for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Self

from services.gateway.records import Record, record_of
from services.mesh.errors import Code, MeshError
from services.mesh.telemetry import names

if TYPE_CHECKING:
    from types import TracebackType

    from services.gateway.prediction import Prediction
    from services.gateway.request import PredictCall
    from services.gateway.routing import Endpoint, Route

logger = logging.getLogger(__name__)
# What QualityService takes in one call.
MAX_BATCH = 1_000
INTERVAL_S = 0.2
# Of captured features that wait: rows do not tell how large they are.
MAX_FEATURE_BYTES = 64 * 1024 * 1024
# While the registry is away.
RETRY_S = 1.0
STOP_S = 2.0
# Said by a registry that is away, busy or slow: the same predictions may be sent again.
_PASSING = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED})

Keep = Callable[[Sequence[Record]], Awaitable[None]]


class Recorder:
    """Observes predictions, and hands those that are sampled to `keep`, which may be given the same ones again.

    `keep` raises MeshErrors. Predictions of at most `max_waiting_rows` wait, with MAX_FEATURE_BYTES of features; what comes
    on top is counted and forgotten.
    What still waits when the recorder is closed is sent, within STOP_S.
    """

    def __init__(
        self, keep: Keep, *, max_waiting_rows: int, now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        self._keep = keep
        self._max_waiting_rows = max_waiting_rows
        self._now_us = now_us
        self._rows = self._feature_bytes = 0
        # In the order they came; one that is being sent stays until it is kept.
        self._waiting: dict[str, Record] = {}
        self._many = asyncio.Event()
        self._sending = asyncio.Lock()
        self._away = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        names.PREDICTIONS_WAITING.set_function(lambda: len(self._waiting))
        self._task = asyncio.create_task(self._send_for_ever())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(STOP_S):
                await self._send_all()
        except (MeshError, TimeoutError):
            logger.warning("predictions were not kept", extra={"predictions": len(self._waiting)})
            _count_lost("stopped", len(self._waiting))

    def answered(
        self,
        call: PredictCall,
        endpoint: Endpoint,
        prediction: Prediction,
        seconds: float,  # noqa: ARG002 - of no account here
    ) -> None:
        """Put the prediction into the queue if it is sampled."""
        policy = endpoint.outcomes
        if policy is None or call.explain or not policy.keeps(prediction.prediction_id):
            return
        if prediction.prediction_id in self._waiting:
            return  # a repeat, of which the first counts
        if self._rows + prediction.rows > self._max_waiting_rows:
            _count_lost("queue_full", 1)
            return
        record = record_of(endpoint, policy, prediction, self._now_us())
        if record is None:
            _count_lost("no_score", 1)
            return
        self._add(record)
        if len(self._waiting) >= MAX_BATCH:
            self._many.set()

    def failed(self, call: PredictCall, endpoint: Endpoint, route: Route, error: MeshError, seconds: float) -> None:
        """Keep nothing: there is no prediction."""

    async def settle(self, prediction_id: str) -> None:
        """Send the prediction now if it still waits; raises the MeshError that keeps it from being kept."""
        while prediction_id in self._waiting:
            async with self._sending:
                if prediction_id in self._waiting:
                    await self._send_first()

    async def _send_for_ever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await self._many.wait()
            except TimeoutError:
                pass
            self._many.clear()
            try:
                await self._send_all()
                self._away = False
            except MeshError as error:
                if not self._away:
                    logger.warning("predictions wait to be kept", extra={"cause": error.message})
                self._away = True
                await asyncio.sleep(RETRY_S)

    async def _send_all(self) -> None:
        while self._waiting:
            async with self._sending:
                await self._send_first()

    async def _send_first(self) -> None:
        """Send one batch; raises if it must be sent again. A batch that is refused for what it is, is given up."""
        batch = list(islice(self._waiting.values(), MAX_BATCH))
        try:
            await self._keep(batch)
        except MeshError as error:
            if error.code in _PASSING:
                raise
            logger.exception("predictions were refused", extra={"predictions": len(batch)})
            _count_lost("refused", len(batch))
        except Exception:
            logger.exception("predictions cannot be sent", extra={"predictions": len(batch)})
            _count_lost("refused", len(batch))
        for record in batch:
            self._remove(record)

    def _add(self, record: Record) -> None:
        if self._feature_bytes + record.served_bytes > MAX_FEATURE_BYTES:
            record.served, record.served_bytes = None, 0
            names.FEATURES_LOST.inc()
        self._waiting[record.prediction_id] = record
        self._rows += len(record.scores)
        self._feature_bytes += record.served_bytes

    def _remove(self, record: Record) -> None:
        del self._waiting[record.prediction_id]
        self._rows -= len(record.scores)
        self._feature_bytes -= record.served_bytes


def _count_lost(reason: str, predictions: int) -> None:
    names.PREDICTIONS_LOST.labels(reason).inc(predictions)
