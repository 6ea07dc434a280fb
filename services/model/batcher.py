"""Between calls and a loaded model: bounds what is in flight, and gives each row its own fate."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from services.mesh.errors import DeadlineExceeded, InvalidArgument, MeshError, Overloaded
from services.model.calls import Answer, InferCall, failed, join, spread
from services.model.counters import Counters
from services.model.datatypes import Array
from services.model.errors import InvalidOutput, NonFiniteValue, RuntimeFailed
from services.model.runtimes import LoadedModel
from services.model.versions import Signature

logger = logging.getLogger(__name__)

_FAULTS_OF_ROWS = (RuntimeFailed, InvalidArgument, InvalidOutput)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many rows a model gets at once, and how many may wait for it."""

    batch_rows: int
    rows_in_flight: int


class Batcher:
    """Runs each call on one model, in as few batches as its limit allows.

    A call with row times answers every row by itself: late rows are not computed, and a row that fails does not fail
    the others. A call without fails as a whole: Overloaded, NonFiniteValue, RuntimeFailed, InvalidOutput, or what the
    runtime raises.
    """

    def __init__(self, model: LoadedModel, signature: Signature, limits: Limits) -> None:
        self.counters = Counters()
        self._model = model
        self._signature = signature
        self._limits = limits
        self._turn = asyncio.Semaphore(model.parallel)

    async def infer(self, call: InferCall) -> Answer:
        """Answer a call."""
        with self._admitted(call.rows):
            if call.times is None:
                self._refuse_non_finite(call)
            step = self._limits.batch_rows
            if call.rows <= step:
                return await self._batch(call)
            parts = []
            for start in range(0, call.rows, step):
                parts.append(await self._batch(call.take(range(start, min(start + step, call.rows)))))
                # A short batch is computed without leaving the event loop, so many of them would hold it.
                await asyncio.sleep(0)
            return join(parts)

    @contextmanager
    def _admitted(self, rows: int) -> Iterator[None]:
        counters = self.counters
        if counters.rows_in_flight and counters.rows_in_flight + rows > self._limits.rows_in_flight:
            counters.rows_refused += rows
            raise Overloaded("too many rows wait for this version", retry_after_s=self._retry_after_s())
        counters.rows_in_flight += rows
        started, well = time.perf_counter_ns(), False
        try:
            yield
            well = True
        finally:
            counters.rows_in_flight -= rows
            counters.answered(time.perf_counter_ns() - started, well=well)

    def _retry_after_s(self) -> float:
        """Say when the rows in flight will be done, going by what rows have taken so far; 10 ms to 1 s."""
        row_s = self.counters.compute_ns / 1e9 / max(1, self.counters.rows_computed)
        return min(1.0, max(0.01, self.counters.rows_in_flight * row_s / self._model.parallel))

    def _refuse_non_finite(self, call: InferCall) -> None:
        for name in self._signature.finite_inputs:
            if not np.isfinite(call.inputs[name]).all():
                raise NonFiniteValue(f"input {name!r} must be finite", field=f"inputs[{list(call.inputs).index(name)}]")

    async def _batch(self, call: InferCall) -> Answer:
        waiting = time.perf_counter_ns()
        async with self._turn:
            self.counters.queued.add(time.perf_counter_ns() - waiting)
            return await self._attempt(call)

    async def _attempt(self, call: InferCall) -> Answer:
        """Compute the rows that still have time."""
        living = call.times.living(time.monotonic()) if call.times else None
        if living is None:
            return await self._compute(call)
        self.counters.rows_expired += call.rows - len(living)
        late = failed(self._signature, call.rows, DeadlineExceeded.code)
        return spread(await self._compute(call.take(living)), living, late) if living else late

    async def _compute(self, call: InferCall) -> Answer:
        started = time.perf_counter_ns()
        try:
            outputs = await self._model.infer(call.inputs, 3600.0)
            self.counters.computed(call.rows, time.perf_counter_ns() - started)
            return self._checked(call, outputs)
        except _FAULTS_OF_ROWS as error:
            if call.times is None:
                raise
            return await self._isolate(call, error)

    async def _isolate(self, call: InferCall, error: MeshError) -> Answer:
        """Halve a batch that failed until the rows that are at fault stand alone."""
        if call.rows == 1:
            self.counters.rows_invalid += 1
            logger.warning("a row failed", extra={"reason": error.message, "cause": repr(error.__cause__)})
            return failed(self._signature, 1, error.code)
        await asyncio.sleep(0)
        middle = call.rows // 2
        halves = range(middle), range(middle, call.rows)
        return join([await self._attempt(call.take(half)) for half in halves])

    def _checked(self, call: InferCall, outputs: dict[str, Array]) -> Answer:
        for spec in self._signature.outputs:
            if outputs[spec.name].shape != spec.batch_shape(call.rows):
                raise InvalidOutput(f"output {spec.name!r} came in shape {outputs[spec.name].shape}", output=spec.name)
        codes: Array | None = None
        for name in self._signature.finite_outputs:
            finite = np.isfinite(outputs[name])
            if finite.all():
                continue
            if call.times is None:
                raise InvalidOutput(f"output {name!r} is not finite", output=name)
            codes = np.zeros(call.rows, np.int32) if codes is None else codes
            codes[~finite.reshape(call.rows, -1).all(axis=1)] = InvalidOutput.code
        if codes is not None:
            self.counters.rows_invalid += int(np.count_nonzero(codes))
        return Answer(outputs, codes)
