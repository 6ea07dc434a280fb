"""A node's call: its version is asked about rows of several batches together, each of which waits for as long as it can."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from services.gateway.graph.parts import Part, by_member, packed
from services.gateway.graph.spans import mark_failed, node_span
from services.gateway.lane import OF_SOME_ROW, Model
from services.mesh.coalescing import Quantile
from services.mesh.deadline import Deadline
from services.mesh.errors import MeshError

if TYPE_CHECKING:
    import numpy.typing as npt

    from services.gateway.graph.metrics import NodeMetrics
    from services.gateway.graph.nodes import Graph, ModelNode
    from services.gateway.prediction import Inference

# What a call of a node is expected to take, before any has been seen.
FIRST_GUESS_S = 0.02
# To make an answer of what the nodes have given, and send it: a share of the time that is left, and no less than seconds.
ANSWER, ANSWER_S = 0.05, 0.003


class _Answer(NamedTuple):
    """A node's inference for the rows of a part, which begin at row `first` of it; or the error of all of them."""

    part: Part
    inference: Inference | MeshError
    first: int


class Asking:
    """Asks the versions of a graph's nodes, and learns how long each nearly always takes."""

    def __init__(self, graph: Graph, model: Model, metrics: NodeMetrics) -> None:
        self._model = model
        self._metrics = metrics
        self._after = [graph.coming_after(place) for place in range(len(graph.nodes))]
        self._durations = [Quantile(0.99, start=FIRST_GUESS_S) for _ in graph.nodes]

    async def ask(self, place: int, node: ModelNode, parts: Sequence[Part]) -> None:
        """Ask a node's version for all rows of the parts that need it, and give their batches what it answers."""
        asked = [Part(part.batch, part.batch.askable(place, node, part.index)) for part in parts]
        asked = [part for part in asked if part.rows]
        rows = sum(part.rows for part in asked)
        if not rows:
            return
        start = time.perf_counter()
        with node_span(node, rows) as opened:
            answers = await self._infer(place, node, asked)
            seconds = time.perf_counter() - start
            failed = sum(_given(place, answer, int(seconds * 1e6), rows) for answer in answers)
            errors = [answer.inference for answer in answers if isinstance(answer.inference, MeshError)]
            mark_failed(opened, failed, errors[0] if len(errors) == len(answers) else None)
        self._metrics.observe(place, seconds)
        # A version that hangs, or is not there, tells nothing of how long to wait for it.
        if len(errors) < len(answers):
            self._durations[place].observe(seconds)

    async def _infer(self, place: int, node: ModelNode, parts: Sequence[Part]) -> list[_Answer]:
        """Return a node's answers, for each member's rows apart if what some member sent made the call fail."""
        found = await self._infer_together(place, node, parts)
        error = found[0].inference
        if not isinstance(error, MeshError) or error.reason not in OF_SOME_ROW:
            return found
        alone = [own for part in parts for own in by_member(part)]
        if len(alone) == 1:
            return found
        answers = await asyncio.gather(*(self._infer_together(place, node, [part]) for part in alone))
        return [answer for each in answers for answer in each]

    async def _infer_together(self, place: int, node: ModelNode, parts: Sequence[Part]) -> list[_Answer]:
        now = time.monotonic()
        until = self._until(place, node, _joined([part.batch.until[part.index] for part in parts]), now)
        remaining_ms = np.maximum((until - now) * 1000, 0).astype(np.int64).tolist()
        result: Inference | MeshError
        try:
            tensors = [
                packed([part.batch.fed(feed, part.index) for part in parts], node, index)
                for index, feed in enumerate(node.feeds)
            ]
            result = await self._model.infer(node.target, tensors, remaining_ms, Deadline(float(until.max())))
        except MeshError as error:
            result = error
        firsts = accumulate((part.rows for part in parts), initial=0)
        return [_Answer(part, result, first) for part, first in zip(parts, firsts, strict=False)]

    def _until(
        self, place: int, node: ModelNode, until: npt.NDArray[np.float64], now: float
    ) -> npt.NDArray[np.float64]:
        """Return until when each row may wait for a node.

        What is optional is waited for until the first of the rows would be late for the sake of it; but for as long as it
        nearly always takes, so that a caller in a hurry costs the others nothing.
        """
        if not node.optional:
            return until
        coming = np.maximum(ANSWER_S, ANSWER * (until - now))
        coming += sum(self._durations[other].value for other in self._after[place])
        # Never more than half of what is left, so that the node has a chance whatever comes after it.
        until = np.maximum(until - coming, now + (until - now) / 2)
        return np.minimum(until, max(float(until.min()), now + self._durations[place].value))


def _given(place: int, answer: _Answer, duration_us: int, rows: int) -> int:
    """Give a batch what a call of so many rows has brought it; return in how many of its rows the node has failed."""
    part, inference, first = answer
    part.batch.note_call(place, part.index, duration_us, rows)
    if isinstance(inference, MeshError):
        part.batch.fail_node(place, part.index, inference)
        return part.rows
    return part.batch.take(place, part.index, inference, first)


def _joined(arrays: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
