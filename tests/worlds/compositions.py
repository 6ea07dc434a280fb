"""Models by their answers, composed endpoints of them, and what their answers tell of the path."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import DegradationReason, NodeState
from predictmesh.registry.v1.graph_pb2 import Graph
from services.model.datatypes import Array
from services.model.versions import Signature
from tests.support.onnx_models import OnnxModel
from tests.support.scripted_models import Answer, ScriptedModel, ScriptedModels, scalar
from tests.worlds.models import tables
from tests.worlds.resources import values
from tests.worlds.sandbox import Sandbox, eventually

# A step of the path: what became of which rows (none: all of them), and why.
Step = tuple[str, list[int], str]


@dataclass
class Compositions:
    """Defines in a namespace. Rows are numbers, what a request brings as x: INT64 for tables, FP32 from 1 for scripts."""

    own: Sandbox
    server: ScriptedModels

    async def onnx(self, name: str, onnx: OnnxModel, **sources: Sequence[str]) -> None:
        """A model of version 1.0.0, bound as given."""
        await self.own.model(name)
        await self.own.register(name, "1.0.0", onnx, sources)
        await self.own.until_runtime(name, "1.0.0")

    async def table(self, name: str, **outputs: Array) -> None:
        """A model of version 1.0.0 that answers from arrays, one entry for each number; others fail their row."""
        await self.onnx(name, tables(**outputs), x=["request:x"])

    async def script(
        self,
        name: str,
        answer: Answer,
        signature: Signature | None = None,
        *,
        version: str = "1.0.0",
    ) -> ScriptedModel:
        """A model of a version that does as it is told, at first as `answer` says; each input is asked of the request."""
        given = signature or scalar()
        made = self.server.add(self.own.full(f"{name}-{version}").replace("/", "-"), answer, given)
        await self.own.model(name)
        sources = {spec.name: [f"request:{spec.name}"] for spec in given.inputs}
        await self.own.register_at(self.server.target(made.name), name, version, given, sources)
        await self.own.until_runtime(name, version)
        return made

    async def scripts(self, **answers: Answer) -> list[ScriptedModel]:
        """Several of them, by name."""
        return list(await asyncio.gather(*(self.script(name, answer) for name, answer in answers.items())))

    async def serve(self, name: str, graph: Graph, **endpoint: Any) -> None:
        """A model whose version 1.0.0 is composed, and an endpoint of the same name."""
        await self.own.model(name)
        await self.own.compose(name, "1.0.0", graph)
        await self.own.endpoint(name, name, version="1.0.0", **endpoint)


def looked_up(*answers: float) -> Answer:
    """Y is the x-th of the answers, from 1; 0 is blank."""
    table = np.array([0, *answers], np.float32)
    return lambda inputs: {"y": table[inputs["x"].astype(int)]}


async def until_waiting(*models: ScriptedModel) -> None:
    """Wait until every one of the models holds a call."""

    async def waiting() -> bool:
        return all(model.waiting for model in models)

    await eventually(waiting, "calls that hang")


def path(answer: PredictResponse) -> dict[str, list[Step]]:
    """What became of the rows at each node."""
    found: dict[str, list[Step]] = {}
    for step in answer.provenance.nodes:
        state = NodeState.Name(step.state).removeprefix("NODE_STATE_")
        found.setdefault(step.node, []).append((state, list(step.rows), step.cause))
    return found


def degraded(answer: PredictResponse) -> list[tuple[str, str, list[int]]]:
    """What an answer says of what is not as it should be."""
    return [
        (DegradationReason.Name(each.reason).removeprefix("DEGRADATION_REASON_"), each.subject, list(each.rows))
        for each in answer.provenance.degradations
    ]


def output(answer: PredictResponse, name: str = "y") -> list[Any]:
    """The values of an output."""
    return next(values(each) for each in answer.outputs if each.name == name)


def numbered(count: int) -> dict[str, list[float]]:
    """The features of rows 1, 2, ..."""
    return {"x": [float(row) for row in range(1, count + 1)]}
