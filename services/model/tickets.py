"""A call on its way through batches: which of its rows wait, what is known of the others, and who waits for them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from services.mesh.errors import Code, MeshError
from services.model.calls import Answer, InferCall, Source
from services.model.datatypes import Array, blank
from services.model.versions import Signature

if TYPE_CHECKING:
    from services.mesh.context import CallContext

Rows: TypeAlias = range | list[int]
"""Rows of one call, by their place in it."""

_NONE = Source("")

# The way back to the caller takes a share of the time that he gave, so many seconds at most. Rows are planned for before
# that: an answer that is ready at the last moment comes too late, and under overload most of them would.
_WAY_BACK, _WAY_BACK_S = 0.2, 0.01


class Ticket:
    """A call whose rows are taken in the order of their deadlines, and whose answer is there when the last row's is."""

    def __init__(self, call: InferCall, signature: Signature, context: CallContext | None) -> None:
        self.call = call
        self.context = context
        self.arrived = time.monotonic()
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._signature = signature
        self._order: Sequence[int] = ()
        self._next = 0
        self._left = call.rows
        self._outputs: dict[str, Array] | None = None
        self._codes: Array | None = None
        self._sources: list[Source] = []
        self._row_sources: Array | None = None
        self._errors: list[MeshError] = []

    @property
    def waiting(self) -> int:
        """Rows that no batch has taken."""
        return self.call.rows - self._next

    @property
    def deadline(self) -> float:
        """When the most urgent row that waits has to be computed, to be with its caller in time; there must be one."""
        call = self.call
        if call.deadlines is None or self._next == 0:
            return self.due(call.deadline)
        return self.due(call.deadlines[self._order[self._next]])

    def take(self, most: int, until: float) -> Rows:
        """Take the most urgent rows: `most` at most, of those due by `until`, and one in any case."""
        start, call = self._next, self.call
        end = min(start + most, call.rows)
        if call.deadlines is None or (end - start == call.rows and until == math.inf):
            self._next = end
            return range(start, end)
        # Sorted when it is first taken apart: most calls travel whole.
        order = self._order = self._order or sorted(range(call.rows), key=call.deadlines.__getitem__)
        stop = start + 1
        while stop < end and self.due(call.deadlines[order[stop]]) <= until:
            stop += 1
        self._next = stop
        return list(order[start:stop])

    def is_whole(self, rows: Rows) -> bool:
        """Whether these are all rows of the call, in their own order."""
        return isinstance(rows, range) and len(rows) == self.call.rows

    def withdraw(self) -> int:
        """Let no batch take any more rows, and say how many waited."""
        waiting, self._next = self.waiting, self.call.rows
        return waiting

    def answered(self, rows: Rows, outputs: Mapping[str, Array], codes: Array | None, source: Source) -> None:
        """Take in what was computed for some rows; `codes` as in Answer."""
        if self.answer.done():
            return
        if self.is_whole(rows):
            self._outputs, self._codes = dict(outputs), codes
            self._sources.append(source)
            self._finish(len(rows))
            return
        index = index_of(rows)
        for name, values in self._places().items():
            values[index] = outputs[name]
        if codes is not None:
            self._row_codes()[index] = codes
        self._come_from(source, index)
        self._finish(len(rows))

    def failed(self, rows: Rows, error: MeshError) -> None:
        """Give some rows up. A call that is not judged by row fails with them."""
        if self.answer.done():
            return
        if not self.call.by_row:
            self.answer.set_exception(error)
            return
        self._errors.append(error)
        self._places()
        self._row_codes()[index_of(rows)] = error.code
        self._finish(len(rows))

    def abandoned(self, error: MeshError) -> None:
        """Fail the whole call, unless it has its answer."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def due(self, deadline: float) -> float:
        """Say when a row has to be computed to be with its caller by its deadline."""
        return deadline - min(_WAY_BACK * max(0.0, deadline - self.arrived), _WAY_BACK_S)

    def _finish(self, rows: int) -> None:
        self._left -= rows
        if self._left:
            return
        if not self._sources and self._errors and all(error.code is self._errors[0].code for error in self._errors):
            # Nothing was computed, so that the caller is told as of any call: a refusal brings its time to come back.
            self.answer.set_exception(self._errors[-1])
            return
        assert self._outputs is not None
        several = self._row_sources if len(self._sources) > 1 else None
        self.answer.set_result(Answer(self._outputs, self._codes, self._sources or [_NONE], several))

    def _places(self) -> dict[str, Array]:
        if self._outputs is None:
            rows = self.call.rows
            self._outputs = {
                spec.name: blank(spec.datatype, spec.batch_shape(rows)) for spec in self._signature.outputs
            }
        return self._outputs

    def _row_codes(self) -> Array:
        if self._codes is None:
            self._codes = np.full(self.call.rows, Code.OK, np.int32)
        return self._codes

    def _come_from(self, source: Source, index: slice | Sequence[int]) -> None:
        if self._row_sources is None:
            self._row_sources = np.zeros(self.call.rows, np.uint8)
        if source not in self._sources:
            self._sources.append(source)
        self._row_sources[index] = self._sources.index(source)


def index_of(rows: Rows) -> slice | list[int]:
    """Return what picks rows out of an array: a slice where they stand together, which copies nothing."""
    return slice(rows.start, rows.stop) if isinstance(rows, range) else rows
