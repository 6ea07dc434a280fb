"""Composed versions for the gateway's tests, and a model service whose versions do as their numbers say."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from google.protobuf import text_format

from predictmesh.registry.v1.graph_pb2 import Graph
from services.gateway.assembly import unpacked
from services.gateway.convert_graph import Feeds, graph_of
from services.gateway.graph.lane import GraphLane
from services.gateway.prediction import Inference, Outcome, RuntimeSource
from services.gateway.target import Target
from services.mesh.context import CallContext
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, Reason, RemoteError
from tests.support.predictions import MemoryFeatures, column, member, target

# What makes a version answer NaN, fail the row, fail the call, or not take the row's values.
NAN, BROKEN, POISON, REFUSED = 1_000.0, 2_000.0, 3_000.0, 4_000.0
# What the model service says of a row.
CODES = {BROKEN: Code.INTERNAL, REFUSED: Code.INVALID_ARGUMENT}


class ScriptedModel:
    """The model service. A version's output is its input's mean over 100, more its `shifts`; so 80 is 0.8.

    What stands in `spoilt` by version and input makes the version misbehave for that row. A version whose gate is closed
    does not answer until it is opened, one that hangs not before its deadline; one that is `holding` answers each call when
    its event in `held` is set.
    """

    def __init__(self) -> None:
        self.shifts: Mapping[str, float] = {}
        self.spoilt: dict[str, Mapping[float, float]] = {}
        self.failing: set[str] = set()
        self.hanging: set[str] = set()
        self.holding: set[str] = set()
        self.held: list[asyncio.Event] = []
        self.gates: dict[str, asyncio.Event] = defaultdict(_opened)
        self.rows: dict[str, list[int]] = defaultdict(list)
        self.cancelled = 0

    async def infer(
        self, target: Target, tensors: Sequence[bytes], remaining_ms: Sequence[int], deadline: Deadline
    ) -> Inference:
        name = target.version
        self.rows[name].append(len(remaining_ms))
        await self.gates[name].wait()
        if name in self.hanging:
            await self._hang(deadline)
        if name in self.holding:
            self.held.append(asyncio.Event())
            await self.held[-1].wait()
        if name in self.failing:
            raise RemoteError(Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED, f"{name} is not loaded")
        array = np.concatenate(
            [unpacked(packed, feed.dtype, feed.width) for packed, feed in zip(tensors, target.inputs, strict=True)],
            axis=1,
        )
        assert len(array) == len(remaining_ms)
        marks = [self.spoilt.get(name, {}).get(float(value), 0.0) for value in array[:, 0]]
        if POISON in marks:
            raise RemoteError(Code.INTERNAL, Reason.RUNTIME_FAILED, "the runtime failed")
        answer = (array.mean(axis=1) / 100 + self.shifts.get(name, 0.0)).astype(np.float32)
        answer[[mark == NAN for mark in marks]] = np.nan
        failed = {row: int(CODES[mark]) for row, mark in enumerate(marks) if mark in CODES}
        outputs: list[npt.NDArray[np.generic]] = [answer[:, np.newaxis] for _ in target.outputs]
        return Inference(outputs, failed, (RuntimeSource("memory"),))

    async def _hang(self, deadline: Deadline) -> None:
        try:
            async with asyncio.timeout(deadline.remaining()):
                await asyncio.Event().wait()
        except TimeoutError:
            raise RemoteError(Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED, "no answer in time") from None
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def _opened() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


def composed(text: str) -> Target:
    """The composed target of a graph as text. Versions take one FP32 `x`, of the request unless fed, and give `p`.

    Those of a number beginning with 2 take two elements.
    """
    graph = text_format.Parse(text, Graph())
    models = {node.name: node.model for node in graph.nodes if node.HasField("model")}
    inputs = {f"{name}.x:FP32:1": ["x"] for name, node in models.items() if not node.inputs}
    whole = target(inputs, outputs=[f"{output.name}:FP32:1" for output in graph.outputs])
    feeds = Feeds(whole.inputs, {feed.name: place for place, feed in enumerate(whole.inputs)})
    return replace(whole, graph=graph_of(graph, feeds, _version))


def _version(model: str, number: str) -> Target:
    made = target({f"x:FP32:{2 if number.startswith('2') else 1}": ["x"]}, outputs=("p:FP32:1",))
    return replace(made, model=model, version=number)


def lane_of(text: str, model: ScriptedModel, *, max_queued_rows: int = 1_000, measured: bool = False) -> GraphLane:
    """A lane of a graph."""
    aim = composed(text)
    return GraphLane(aim, MemoryFeatures(), model, max_rows=64, max_queued_rows=max_queued_rows, measured=measured)


async def ask(lane: GraphLane, *values: float, seconds: float = 5, running: CallContext | None = None) -> Outcome:
    """The answer to a request with these values of x."""
    return await lane.answer(member(lane.target, features=[column("x", *values)], seconds=seconds, running=running))


def numbers(outcome: Outcome) -> list[float]:
    """The only output, rounded."""
    return [round(float(value), 4) for value in outcome.outputs[0].ravel()]


def path(outcome: Outcome) -> list[tuple[str, str, list[int], str]]:
    """The path: node, state, rows, cause."""
    return [(step.node, step.state.name, step.rows, step.cause) for step in outcome.nodes]


MODEL = 'nodes {{ name: "{0}" model {{ model: "m" version: "{1}" {2} }} }}\n'
FIRST, SECOND = MODEL.format("first", "1.0.0", ""), MODEL.format("second", "1.1.0", "")
OPTIONAL = MODEL.format("second", "1.1.0", "optional: true")
DEFAULTED = MODEL.format(
    "second", "1.1.0", 'optional: true defaults { name: "p" data_type: DATA_TYPE_FP32 floats: 0.5 }'
)
MEAN = """
nodes { name: "both" ensemble { method: ENSEMBLE_METHOD_MEAN
  members { source { node: "first" } } members { source { node: "second" } } } }
outputs { name: "p" source { node: "both" } }
"""
CASCADE = """
nodes { name: "sure" cascade {
  stages { node: "first" confidence { node: "first" } threshold: 0.8 } stages { node: "second" } } }
outputs { name: "p" source { node: "sure" } }
"""
AFTER = """
nodes { name: "after" model { model: "m" version: "1.2.0" inputs { input: "x" sources { node: "sure" } } } }
outputs { name: "p" source { node: "after" } }
"""
