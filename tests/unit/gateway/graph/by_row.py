"""What a composed version is to answer, computed row by row as its graph reads; and models that answer so."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.gateway.assembly import unpacked, zeros
from services.gateway.graph.combining import combine, confidence
from services.gateway.graph.nodes import CascadeNode, EnsembleNode, Graph, ModelNode
from services.gateway.prediction import Inference, RuntimeSource
from services.gateway.target import DType, Target
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, Reason, RemoteError

Array = npt.NDArray[Any]
Row = list[Array]
TEXTS = (b"", b"ab", b"xyz")
# So many rows no caller sends: a call that fails with so many is made again for each caller.
MANY = 5


class RowFailed(Exception):
    """A row has no answer."""


def answer_of(version: Target, inputs: Sequence[Array]) -> Row | None:
    """Return a version's outputs for one row, arrays [width], some with NaN as the last; None where it fails."""
    number = int(version.version.split(".")[1])
    weighed = (_number(value) * (place + 1.3) for each in inputs for place, value in enumerate(each))
    total = sum(weighed)
    base, lot = (total * 0.37 + number * 0.11) % 1.0, (total * 7.31 + number * 0.77) % 1.0
    if lot < 0.07:
        return None
    outputs = []
    for output in version.outputs:
        shares = [(base + place * 0.13) % 1.0 for place in range(output.width)]
        values = np.empty(output.width, output.dtype.numpy)
        if output.dtype.is_float:
            values[:] = shares
            values[-1] = np.nan if lot < 0.14 else values[-1]
        else:
            values[:] = [TEXTS[int(3 * each)] if output.dtype is DType.BYTES else int(3 * each) for each in shares]
        outputs.append(values)
    return outputs


def _number(value: Any) -> float:
    if isinstance(value, bytes):
        return 3.0 * len(value) + sum(value) % 17
    return float(value) if np.isfinite(value) else 5.5


class ModelByRow:
    """The model service, of which each call takes its time and some of many rows fail."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    async def infer(
        self, target: Target, tensors: Sequence[bytes], remaining_ms: Sequence[int], deadline: Deadline
    ) -> Inference:
        rows = len(remaining_ms)
        inputs = [unpacked(each, feed.dtype, feed.width) for each, feed in zip(tensors, target.inputs, strict=True)]
        assert {rows} == {len(each) for each in inputs}
        for _ in range(self._chance.randint(0, 20)):
            await asyncio.sleep(0)
        if rows >= MANY and self._chance.random() < 0.3:
            raise RemoteError(Code.INTERNAL, Reason.RUNTIME_FAILED, "the runtime failed")
        outputs = [zeros(each.dtype, rows * each.width).reshape(rows, each.width) for each in target.outputs]
        failed = {}
        for row in range(rows):
            answer = answer_of(target, [each[row] for each in inputs])
            if answer is None:
                failed[row] = int(Code.INTERNAL)
            for output, values in zip(outputs, answer or (), strict=False):
                output[row] = values
        return Inference(outputs, failed, (RuntimeSource("memory"),))


class ByRow:
    """One row through a graph: its outputs, and by name what became of it at each version and the cascade."""

    def __init__(self, graph: Graph, inputs: Sequence[Array | None]) -> None:
        self._graph = graph
        self._inputs = inputs
        self._values: dict[int, Row | None] = {}
        self.states = {name: "SKIPPED" for _, name in graph.path}
        self._compute()
        self.outputs = [self._taken(port.node)[port.output] for port in graph.outputs]

    def _compute(self) -> None:
        cascade = None if self._graph.cascade is None else self._graph.nodes[self._graph.cascade]
        if not isinstance(cascade, CascadeNode):
            self._segment(0)
            return
        chosen = None
        for number, stage in enumerate(cascade.stages):
            self._segment(number)
            chosen = chosen if self._values[stage.node] is None else stage
            told = stage.confidence and self._values[stage.confidence.node]
            if stage.confidence and told and chosen is stage:
                values = told[stage.confidence.output][np.newaxis]
                if confidence(values, stage.measure)[0] >= stage.threshold:
                    break
        if chosen is None:
            raise RowFailed
        assert self._graph.cascade is not None
        self._values[self._graph.cascade] = [self._taken(port.node)[port.output] for port in chosen.ports]
        self.states[cascade.name] = self._graph.nodes[chosen.node].name
        self._segment(len(cascade.stages))

    def _segment(self, number: int) -> None:
        for place in self._graph.segment(number):
            node = self._graph.nodes[place]
            if isinstance(node, ModelNode):
                self._values[place] = self._ask(node)
            elif isinstance(node, EnsembleNode):
                self._values[place] = self._combined(node)

    def _ask(self, node: ModelNode) -> Row | None:
        given = [
            self._inputs[feed]
            if isinstance(feed, int)
            else np.concatenate([self._taken(port.node)[port.output] for port in feed])
            for feed in node.feeds
        ]
        known = [each for each in given if each is not None]
        answer = answer_of(node.target, known) if len(known) == len(given) else None
        if answer is not None and all(np.isfinite(answer[output]).all() for output in node.finite_outputs):
            self.states[node.name] = "COMPUTED"
            return answer
        if not node.optional:
            raise RowFailed
        self.states[node.name] = "LEFT_OUT" if node.defaults is None else "DEFAULTED"
        return None if node.defaults is None else [each[0] for each in node.defaults]

    def _combined(self, node: EnsembleNode) -> Row | None:
        members = [
            (values[port.output], weight)
            for port, weight in zip(node.members, node.weights or [1.0] * len(node.members), strict=True)
            if (values := self._values[port.node]) is not None
        ]
        if not members:
            return None
        rows = [values[np.newaxis] for values, _ in members]
        weights = tuple(weight for _, weight in members) if node.weights else ()
        combined, _ = combine(node.method, rows, [None] * len(rows), weights)
        return [combined[0]]

    def _taken(self, place: int) -> Row:
        values = self._values[place]
        if values is None:
            raise RowFailed
        return values
