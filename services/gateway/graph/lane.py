"""How a composed version's predictions travel: features once for all nodes, then by segments of the graph.

What comes first travels as in any lane. Rows that a stage of the cascade was not sure of go on to the next segment, where
those of several batches travel together; the others are answered without waiting for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from services.gateway.batch import Batch
from services.gateway.graph.asking import Asking
from services.gateway.graph.batch import GraphBatch
from services.gateway.graph.cascade import choose, judge
from services.gateway.graph.metrics import NodeMetrics
from services.gateway.graph.nodes import CascadeNode, EnsembleNode, ModelNode
from services.gateway.graph.parts import Part
from services.gateway.graph.spans import note_skipped
from services.gateway.lane import Features, Lane, Model
from services.mesh.coalescing import Coalescer
from services.mesh.errors import Overloaded

if TYPE_CHECKING:
    from services.gateway.graph.nodes import Graph
    from services.gateway.prediction import Outcome
    from services.gateway.request import Member
    from services.gateway.target import Target


class _Segment:
    """Nodes that are computed together: in order, each after those of its own segment that it `waits` for."""

    def __init__(self, graph: Graph, number: int) -> None:
        self.places = graph.segment(number)
        models = [(place, node) for place in self.places if isinstance(node := graph.nodes[place], ModelNode)]
        self.models = [place for place, _ in models]
        self.optional = any(node.optional for _, node in models)
        self.waits = {
            place: [other for other in graph.taken_from(place) if other in self.places] for place in self.places
        }


class GraphLane(Lane):
    """Coalesces the requests for one composed target, and the rows that come to each of its later segments again."""

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
        self._later: list[Coalescer[Part]] = []
        for number in range(1, count):
            # Rows that a stage was not sure of wait for those of the batch that is there now. What comes after the
            # cascade is for all rows, and waits for nobody.
            feeding: Coalescer[Any] = self._later[-1] if self._later else self._coalescer
            self._later.append(
                Coalescer(
                    partial(self._continue, number),
                    max_rows=max_rows,
                    max_queued_rows=max_queued_rows,
                    behind=feeding if number < count - 1 else None,
                )
            )
        self._batches: dict[Member, GraphBatch] = {}
        self._metrics = NodeMetrics(target, measured=measured)
        self._asking = Asking(self._graph, model, self._metrics)

    @property
    def idle(self) -> bool:
        """Whether nobody waits for an answer."""
        return super().idle and all(coalescer.idle for coalescer in self._later)

    @property
    def queued_rows(self) -> int:
        """How many rows wait for a batch to leave, in every segment."""
        return super().queued_rows + sum(coalescer.queued_rows for coalescer in self._later)

    @property
    def p99_s(self) -> float:
        """How long nearly all batches take through every segment, in seconds, as far as it is known."""
        return super().p99_s + self._beyond_s

    @property
    def _beyond_s(self) -> float:
        return sum(coalescer.p99_s for coalescer in self._later)

    def retire(self) -> None:
        """Take a measured lane out of the metrics; what is under way ends as it began."""
        super().retire()
        self._metrics.retire()

    async def answer(self, member: Member) -> Outcome:
        """Return the member's outcome when its rows are done; DeadlineExceeded as soon as its own time is over."""
        try:
            return await super().answer(member)
        finally:
            self._leave(member)

    def _leave(self, member: Member) -> None:
        """Forget a member who has his answer, or does not wait for it any more."""
        batch = self._batches.pop(member, None)
        if batch is not None:
            batch.leave(member)

    async def _compute(self, batch: Batch) -> None:
        graph_batch = GraphBatch(self.target, batch, self._metrics.count)
        for member in batch.members:
            if member.done():
                graph_batch.leave(member)
            else:
                self._batches[member] = graph_batch
        await self._through(0, [Part(graph_batch, graph_batch.all_rows)])

    async def _continue(self, number: int, parts: list[Part]) -> None:
        """Take rows of several batches through a later segment."""

        def waiting() -> list[Member]:
            # Two parts may be of one batch, and so of one member.
            return list(dict.fromkeys(member for part in parts for member in part.batch.waiting(part.index)))

        try:
            await self._accompany(waiting, sum(part.rows for part in parts), self._through(number, parts))
        finally:
            for part in parts:
                part.batch.travelling.pop(part, None)

    async def _through(self, number: int, parts: Sequence[Part]) -> None:
        segment = self._segments[number]
        apart = self._asking.by_haste(segment.models, parts) if segment.optional else [parts]
        if len(apart) == 1:
            await self._together(number, segment, parts)
        else:
            await _all(asyncio.create_task(self._together(number, segment, each)) for each in apart)

    async def _together(self, number: int, segment: _Segment, parts: Sequence[Part]) -> None:
        if len(segment.models) <= 1:
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

        for place in segment.places:
            tasks[place] = asyncio.create_task(after(place))
        await _all(tasks.values())

    async def _node(self, place: int, parts: Sequence[Part]) -> None:
        match self._graph.nodes[place]:
            case ModelNode() as node:
                await self._asking.ask(place, node, parts)
            case EnsembleNode() as node:
                for part in parts:
                    part.batch.combine(place, node, part.batch.opened(part.index))
            case CascadeNode():
                pass  # it is computed stage by stage, as rows leave the segments

    def _depart(self, number: int, part: Part) -> None:
        """Send rows on from a segment: to the next, or to their callers."""
        batch, index = part.batch, part.batch.opened(part.index)
        if not len(index):
            return
        if number == len(self._segments) - 1:
            batch.finish(index)
            return
        leaving, going = judge(batch, number, index)
        if len(going):
            self._enter(number + 1, Part(batch, going))
        if len(leaving):
            note_skipped(self._graph, number, len(leaving))
            answered = choose(batch, leaving)
            if len(answered):
                # The last segment is that of what takes from the cascade.
                self._enter(len(self._segments) - 1, Part(batch, answered))

    def _enter(self, number: int, part: Part) -> None:
        """Have rows go through a segment: with others, unless nothing is to be asked there."""
        if not self._segments[number].models:
            self._pass(number, part)
            return
        coalescer = self._later[number - 1]
        part.batch.travelling[part] = coalescer
        try:
            coalescer.submit(part)
        except Overloaded as error:
            del part.batch.travelling[part]
            for place in self._segments[number].places:
                if isinstance(self._graph.nodes[place], ModelNode):
                    part.batch.fail_node(place, part.batch.opened(part.index), error)
            self._pass(number, part)

    def _pass(self, number: int, part: Part) -> None:
        """Take rows through a segment in which no version is left to be asked."""
        for place in self._segments[number].places:
            node = self._graph.nodes[place]
            if isinstance(node, EnsembleNode):
                part.batch.combine(place, node, part.batch.opened(part.index))
        self._depart(number, part)


async def _all(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Return when all tasks have ended; if one fails, or nobody waits any more, the others are cancelled."""
    tasks = list(tasks)
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
