"""The hops of a composed version's predictions: features once for all nodes, then a call a node and batch.

What comes first travels as in any lane. Rows that a stage of the cascade was not sure of go on by segments, where those of
several batches travel together; the others are answered without waiting for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from services.gateway.graph.batch import GraphBatch
from services.gateway.graph.cascade import cascade_of, choose, judge
from services.gateway.graph.nodes import CascadeNode, EnsembleNode, ModelNode
from services.gateway.graph.parts import Part, by_member, packed
from services.gateway.graph.spans import node_span, note_skipped
from services.gateway.lane import OF_SOME_ROW, Batch, Features, Lane, Model
from services.mesh.coalescing import Coalescer, Quantile
from services.mesh.deadline import Deadline
from services.mesh.errors import MeshError, Overloaded
from services.mesh.telemetry import names

if TYPE_CHECKING:
    import numpy.typing as npt
    from prometheus_client import Counter

    from services.gateway.graph.nodes import Graph
    from services.gateway.prediction import Inference, Outcome
    from services.gateway.request import Member
    from services.gateway.target import Target

# What a call of a node is expected to take, before any has been seen.
FIRST_GUESS_S = 0.02
# To make an answer of what the nodes have given, and send it: a share of the time that is left, and no less than seconds.
ANSWER, ANSWER_S = 0.05, 0.003


class _Answer(NamedTuple):
    """A node's inference for the rows of a part, which begin at row `first` of it; or the error of all of them."""

    part: Part
    inference: Inference | MeshError
    first: int


class _Segment:
    """Nodes that are computed together: in order, each after those of its own segment that it `waits` for."""

    def __init__(self, graph: Graph, number: int) -> None:
        self.places = graph.segment(number)
        self.models = sum(isinstance(graph.nodes[place], ModelNode) for place in self.places)
        self.waits = {
            place: [other for other in graph.taken_from(place) if other in self.places] for place in self.places
        }


class GraphLane(Lane):
    """Coalesces the requests for one composed target, and those of its later segments again."""

    def __init__(
        self,
        target: Target,
        features: Features,
        model: Model,
        *,
        max_rows: int,
        max_queued_rows: int,
        measured: bool = True,
    ) -> None:
        super().__init__(target, features, model, max_rows=max_rows, max_queued_rows=max_queued_rows, measured=measured)
        assert target.graph is not None
        self._graph = target.graph
        count = 1 + max(node.segment for node in self._graph.nodes)
        self._segments = [_Segment(self._graph, number) for number in range(count)]
        self._later: list[Coalescer[Part]] = [
            Coalescer(partial(self._continue, number), max_rows=max_rows, max_queued_rows=max_queued_rows)
            for number in range(1, count)
        ]
        self._under_way: dict[Member, GraphBatch] = {}
        self._parts: dict[Part, Coalescer[Part]] = {}
        self._after = [self._graph.coming_after(place) for place in range(len(self._graph.nodes))]
        self._durations = [Quantile(0.99, start=FIRST_GUESS_S) for _ in self._graph.nodes]
        self._duration = [
            names.NODE_DURATION.labels(target.model, target.version, node.name) for node in self._graph.nodes
        ]
        self._rows: dict[tuple[int, str], Counter] = {}

    @property
    def idle(self) -> bool:
        """Whether nobody waits for an answer."""
        return super().idle and all(coalescer.idle for coalescer in self._later)

    @property
    def p99_s(self) -> float:
        """How long nearly all batches take through every segment, in seconds, as far as it is known."""
        return super().p99_s + sum(coalescer.p99_s for coalescer in self._later)

    def _left(self, member: Member) -> None:
        super()._left(member)
        batch = self._under_way.get(member)
        if batch is not None:
            batch.leave(member)
            for part, coalescer in list(self._parts.items()):
                if part.batch is batch and part.done():
                    coalescer.left(part)

    async def answer(self, member: Member) -> Outcome:
        """Return the member's outcome when its rows are done; DeadlineExceeded as soon as its own time is over."""
        try:
            return await super().answer(member)
        finally:
            self._under_way.pop(member, None)

    async def _compute(self, batch: Batch) -> None:
        graph_batch = GraphBatch(self.target, batch, self._count)
        for member in batch.members:
            if member.done():
                graph_batch.leave(member)
            else:
                self._under_way[member] = graph_batch
        await self._through(0, [Part(graph_batch, graph_batch.all_rows)])

    async def _continue(self, number: int, parts: list[Part]) -> None:
        """Take rows of several batches through a later segment."""
        members = [member for part in parts for member in part.batch.waiting(part.index)]
        try:
            await self._accompany(members, self._through(number, parts))
        finally:
            for part in parts:
                del self._parts[part]

    async def _through(self, number: int, parts: Sequence[Part]) -> None:
        segment = self._segments[number]
        if segment.models <= 1:
            for place in segment.places:
                await self._node(place, parts)
        else:
            await self._side_by_side(segment, parts)
        for part in parts:
            self._depart(number, part)

    async def _side_by_side(self, segment: _Segment, parts: Sequence[Part]) -> None:
        """Compute nodes as soon as those that they take from are there."""
        tasks: dict[int, asyncio.Task[None]] = {}

        async def after(place: int) -> None:
            for other in segment.waits[place]:
                await tasks[other]
            await self._node(place, parts)

        try:
            for place in segment.places:
                tasks[place] = asyncio.create_task(after(place))
            await asyncio.gather(*tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()

    async def _node(self, place: int, parts: Sequence[Part]) -> None:
        match self._graph.nodes[place]:
            case ModelNode() as node:
                await self._ask(place, node, parts)
            case EnsembleNode() as node:
                for part in parts:
                    part.batch.combine(place, node, part.batch.opened(part.index))
            case CascadeNode():
                pass  # it is computed stage by stage, as rows leave the segments

    async def _ask(self, place: int, node: ModelNode, parts: Sequence[Part]) -> None:
        """Ask a version for all rows of the parts that need it."""
        asked = [Part(part.batch, part.batch.askable(place, node, part.index)) for part in parts]
        asked = [part for part in asked if part.rows]
        rows = sum(part.rows for part in asked)
        if not rows:
            return
        start = time.perf_counter()
        with node_span(node, rows):
            answers = await self._infer_parts(place, node, asked)
        seconds = time.perf_counter() - start
        self._durations[place].observe(seconds)
        if self._measured:
            self._duration[place].observe(seconds)
            self._model_duration.observe(seconds)
        for part, inference, first in answers:
            part.batch.note_call(place, part.index, int(seconds * 1e6), rows)
            if isinstance(inference, MeshError):
                part.batch.fail_node(place, part.index, inference)
            else:
                part.batch.take(place, part.index, inference, first)

    async def _infer_parts(self, place: int, node: ModelNode, parts: Sequence[Part]) -> list[_Answer]:
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

    def _depart(self, number: int, part: Part) -> None:
        """Send rows on from a segment: to the next, or to their callers."""
        batch, index = part.batch, part.batch.opened(part.index)
        place = self._graph.cascade
        if not len(index):
            return
        if place is None or number == self._after_cascade:
            batch.finish(index)
            return
        leaving, going = judge(batch, number, index)
        note_skipped(self._graph, number, len(leaving))
        if len(going):
            self._enter(number + 1, Part(batch, going))
        leaving = choose(batch, leaving)
        if len(leaving):
            self._enter(self._after_cascade, Part(batch, leaving))

    @property
    def _after_cascade(self) -> int:
        """The segment of what takes from the cascade."""
        return len(cascade_of(self._graph).stages)

    def _enter(self, number: int, part: Part) -> None:
        """Have rows go through a segment: with others, unless nothing is to be asked there."""
        models = self._segments[number].models if number < len(self._segments) else 0
        if models == 0:
            self._pass(number, part)
            return
        coalescer = self._later[number - 1]
        self._parts[part] = coalescer
        try:
            coalescer.submit(part)
        except Overloaded as error:
            del self._parts[part]
            for place in self._segments[number].places:
                if isinstance(self._graph.nodes[place], ModelNode):
                    part.batch.fail_node(place, part.batch.opened(part.index), error)
            self._pass(number, part)

    def _pass(self, number: int, part: Part) -> None:
        """Take rows through a segment in which no version is left to be asked."""
        for place in self._segments[number].places if number < len(self._segments) else ():
            node = self._graph.nodes[place]
            if isinstance(node, EnsembleNode):
                part.batch.combine(place, node, part.batch.opened(part.index))
        self._depart(number, part)

    def _count(self, place: int, state: str, rows: int) -> None:
        if not self._measured:
            return
        counter = self._rows.get((place, state))
        if counter is None:
            labels = (self.target.model, self.target.version, self._graph.nodes[place].name, state)
            counter = self._rows[place, state] = names.NODE_ROWS.labels(*labels)
        counter.inc(rows)


def _joined(arrays: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
