"""A gateway whose versions fail, hang or refuse rows as they are told, and endpoints with a ladder."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from predictmesh.registry.v1.endpoint_pb2 import Fallback
from services.gateway.observing import Observer
from services.gateway.prediction import Inference, Prediction
from services.gateway.target import Target
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, MeshError, Reason, RemoteError
from tests.support.predictions import StoredRow, call, column, endpoint, snapshot, version, view
from tests.unit.gateway.world import World

RIDER = view("rider", "a:FP32", "b:FP32")
# Each version's score is 1 + a, of 2.0.0 1 + a + b.
SIMPLE, FULL = {"x:FP32": ["rider:a"]}, {"x:FP32": ["rider:a"], "b:FP32": ["rider:b"]}
VERSIONS = [
    version(SIMPLE, number="1.0.0", digest="1"),
    version(SIMPLE, number="1.5.0", digest="15"),
    version(FULL, number="2.0.0", digest="2"),
]
ROWS: dict[object, StoredRow] = {
    rider: StoredRow({"rider:a": float(number), "rider:b": 100.0}, {"rider": 1_000 * number})
    for number, rider in enumerate("abcdefgh")
}
LAST_ANSWER = Fallback(last_answer_max_age_ms=60_000)


def static(value: float) -> Fallback:
    """A static answer."""
    made = Fallback()
    made.answer.outputs.add(name="y", floats=[value])
    return made


def broken(code: Code = Code.INTERNAL, reason: Reason = Reason.RUNTIME_FAILED) -> RemoteError:
    """What a model service answers for a whole call."""
    return RemoteError(code, reason, "it broke")


class LadderWorld(World):
    """A gateway with an endpoint m: 2.0.0 answers, and fallbacks do where it fails.

    `failing` has the errors of versions, `failed_rows` the codes of their calls' rows, `hung` the versions that never answer.
    """

    def __init__(self, *fallbacks: Fallback, observers: Sequence[Observer] = (), **parts: Any) -> None:
        super().__init__(ROWS, *observers)
        self.failing: dict[str, MeshError] = {}
        self.failed_rows: dict[str, Mapping[int, Code]] = {}
        self.hung: set[str] = set()
        self.left: list[str] = []
        self.asked: list[tuple[str, int]] = []
        self._compute = self.model.infer
        self.model.infer = self._infer  # type: ignore[method-assign]
        self.define(*fallbacks, **parts)

    def define(self, *fallbacks: Fallback, versions: Sequence[Any] = VERSIONS, route: Any = None, **parts: Any) -> None:
        """Give the endpoint a ladder."""
        releases = parts.pop("releases", ())
        made = endpoint(route or {"version": "2.0.0"}, fallbacks=fallbacks, default_timeout_ms=1_000, **parts)
        self.flow.use(self.tables.build(snapshot(RIDER, versions=versions, endpoints=[made], releases=releases)))

    async def predict(self, *riders: str, **parts: Any) -> Prediction:
        """Answer a request for riders."""
        return await self.flow.run(call(column("rider_id", *riders), **parts))

    async def _infer(
        self, target: Target, tensors: Sequence[bytes], remaining_ms: Sequence[int], deadline: Deadline
    ) -> Inference:
        self.asked.append((target.version, len(remaining_ms)))
        if target.version in self.hung:
            try:
                await asyncio.Event().wait()
            finally:
                self.left.append(target.version)
        if target.version in self.failing:
            raise self.failing[target.version]
        found = await self._compute(target, tensors, remaining_ms, deadline)
        return replace(found, failed_rows={**found.failed_rows, **self.failed_rows.get(target.version, {})})


def scores(prediction: Prediction) -> list[float]:
    """Return the score of each row."""
    return [float(score) for score in prediction.outcome.outputs[0][:, 0].tolist()]
