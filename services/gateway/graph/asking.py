"""A node's call: its version is asked about rows of several batches together, each of which waits for as long as it can."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
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
# Who has less time than that is as much in a hurry as anybody can be.
LEAST_S = 0.001


class _Question(NamedTuple):
    """What a node at a place is asked: about so many rows in all, since `start` in seconds of `time.perf_counter()`."""

    place: int
    node: ModelNode
    start: float
    rows: int


class _Answer(NamedTuple):
    """In how many rows the node has failed, and why, if the call did."""

    failed: int
    error: MeshError | None


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
            answers = await self._infer(_Question(place, node, start, rows), asked)
            errors = [error for _, error in answers if error is not None]
            all_failed = len(errors) == len(answers)
            mark_failed(opened, sum(failed for failed, _ in answers), errors[0] if all_failed else None)
        seconds = time.perf_counter() - start
        self._metrics.observe(place, seconds)
        # A version that hangs, or is not there, tells nothing of how long to wait for it.
        if not all_failed:
            self._durations[place].observe(seconds)

    def by_haste(self, places: Sequence[int], parts: Sequence[Part]) -> list[list[Part]]:
        """Part rows that have much less time than others, and less than nodes at these places nearly always take.

        Together one of them would be late: who has little time for a node that hangs, or who has more for one that does not.
        """
        usual_s, now = sum(self._durations[place].value for place in places), time.monotonic()
        left_s = [part.batch.until[part.index] - now for part in parts]
        if min(float(each.min()) for each in left_s) >= usual_s:
            return [list(parts)]
        haste = [np.ceil(np.log2(usual_s / np.clip(each, LEAST_S, usual_s))) for each in left_s]
        return [
            [
                Part(part.batch, part.index[own == degree]) if (own != degree).any() else part
                for part, own in zip(parts, haste, strict=True)
                if (own == degree).any()
            ]
            for degree in np.unique(_joined(haste))
        ]

    async def _infer(self, question: _Question, parts: Sequence[Part]) -> Sequence[_Answer]:
        """Ask for all parts together, or for each member's rows apart if what some member sent makes that fail."""
        result = await self._infer_together(question, parts)
        if isinstance(result, MeshError) and result.reason in OF_SOME_ROW:
            alone = [own for part in parts for own in by_member(part)]
            if len(alone) > 1:
                return await asyncio.gather(*(self._infer_alone(question, part) for part in alone))
        return [_given(question, parts, result)]

    async def _infer_alone(self, question: _Question, part: Part) -> _Answer:
        """Ask for one part, which need not wait for the others."""
        return _given(question, [part], await self._infer_together(question, [part]))

    async def _infer_together(self, question: _Question, parts: Sequence[Part]) -> Inference | MeshError:
        node, now = question.node, time.monotonic()
        until = self._until(question.place, node, _joined([part.batch.until[part.index] for part in parts]), now)
        remaining_ms = np.maximum((until - now) * 1000, 0).astype(np.int64).tolist()
        try:
            tensors = [
                packed([part.batch.fed(feed, part.index) for part in parts], node, index)
                for index, feed in enumerate(node.feeds)
            ]
            return await self._model.infer(node.target, tensors, remaining_ms, Deadline(float(until.max())))
        except MeshError as error:
            return error

    def _until(
        self, place: int, node: ModelNode, until: npt.NDArray[np.float64], now: float
    ) -> npt.NDArray[np.float64]:
        """Return until when each row may wait for a node.

        What is optional is waited for until the first of the rows would be late for the sake of it; but for as long as it
        nearly always takes, if any of them has that long, so that a caller in a hurry costs the others nothing.
        """
        if not node.optional:
            return until
        coming = np.maximum(ANSWER_S, ANSWER * (until - now))
        coming += sum(self._durations[other].value for other in self._after[place])
        # Never more than half of what is left, so that the node has a chance whatever comes after it.
        until = np.maximum(until - coming, now + (until - now) / 2)
        first, usual = float(until.min()), now + self._durations[place].value
        return np.minimum(until, max(first, usual) if until.max() > usual else first)


def _given(question: _Question, parts: Sequence[Part], result: Inference | MeshError) -> _Answer:
    """Give the batches what the node has answered."""
    duration_us, failed, first = int((time.perf_counter() - question.start) * 1e6), 0, 0
    for part in parts:
        part.batch.note_call(question.place, part.index, duration_us, question.rows)
        if isinstance(result, MeshError):
            part.batch.fail_node(question.place, part.index, result)
            failed += part.rows
        else:
            failed += part.batch.take(question.place, part.index, result, first)
        first += part.rows
    return _Answer(failed, result if isinstance(result, MeshError) else None)


def _joined(arrays: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
