"""Endpoints whose route's version fails, each with a ladder of one step; and a gateway that notes when the step is taken."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import numpy as np
from onnx import helper

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse
from predictmesh.registry.v1.endpoint_pb2 import Endpoint, Fallback, Route, StaticAnswer
from predictmesh.registry.v1.registry_service_pb2 import Resource
from services.model.versions import TensorSpec
from tests.bench import beside, rivals
from tests.bench.composition.callers import Request
from tests.bench.composition.definitions import FIRST, LAST_ANSWER_MS, NAMESPACE, PLAIN, STATIC_SCORE, STORED
from tests.bench.composition.models import FEATURES, SCORE, Network, Rows, network
from tests.bench.composition.world import World
from tests.bench.rivals import Rival
from tests.bench.workload import KEYS
from tests.support.onnx_models import OnnxModel, build
from tests.worlds.mesh import connect
from tests.worlds.parts import Part
from tests.worlds.resources import tensor
from tests.worlds.sandbox import TIMEOUT_S, Sandbox

MODEL = "brittle"
FAULT = TensorSpec("fault", "INT64", (1,))
STURDY, ABSENT = "2.0.0", "3.0.0"
VERSION, LAST, STATIC = f"version {STURDY}", "last_answer", "answer"
STEPS = {
    VERSION: Fallback(version=STURDY),
    LAST: Fallback(last_answer_max_age_ms=LAST_ANSWER_MS),
    STATIC: Fallback(answer=StaticAnswer(outputs=[tensor(SCORE.name, [STATIC_SCORE])])),
}
"""Steps by the names that provenance has for them."""
FAILED, NOT_LOADED, OPEN = "runtime failed", "version not loaded", "breaker open"
REASONS = {
    FAILED: {"RUNTIME_FAILED"},
    NOT_LOADED: {"VERSION_NOT_LOADED"},
    OPEN: {"CIRCUIT_OPEN", "UPSTREAM_UNAVAILABLE"},  # the latter until it is open
}
_BATCH = 250


@dataclass(frozen=True)
class Failing:
    """The gateway that notes, the only model service that it has, and what the first version and the sturdy one answer."""

    gateway: Rival
    model: Part
    rows: Rows
    first: Network
    sturdy: Network

    def requests(self, failure: str, step: str) -> list[Request]:
        """Requests of one row that the step must answer."""
        features = self.rows.features
        answers = {VERSION: self.sturdy.scores(features), LAST: self.first.scores(features)}
        answer = answers.get(step, np.full(KEYS, STATIC_SCORE))
        return self.rows.requests(f"{NAMESPACE}/{_name(failure, step)}", answer, _faults(failure == FAILED))

    def check(self, failure: str) -> Callable[[PredictResponse], bool]:
        """Whether an answer is of the step, and the version failed as it should."""
        reasons = REASONS[failure]

        def right(response: PredictResponse) -> bool:
            steps = response.provenance.ladder
            return len(steps) == 2 and steps[0].reason in reasons and list(steps[1].answered_rows) == [0]

        return right


@asynccontextmanager
async def failing(world: World, rows: Rows) -> AsyncIterator[Failing]:
    """Define them, and run what they need of their own, for the time of the context."""
    data = world.directory / "mesh" / "data"
    addresses = world.running.addresses
    model = Part(
        "model", world.directory / "model", {"objects": f"file://{data / 'objects'}", "registry": addresses.registry}
    )
    first, sturdy = network(1), network(2)
    model.start()
    try:
        await model.until_ready()
        async with connect(addresses) as mesh:
            await _define(Sandbox(mesh, NAMESPACE), first, sturdy)
        module = "tests.bench.composition.noting_gateway"
        with beside.gateway("noting", module, world.mesh, data, model=model.address) as gateway:
            rivals.await_answer(gateway.target, rows.requests(f"{NAMESPACE}/{PLAIN}", rows.features)[0][0])
            async with connect(replace(addresses, gateway=gateway.target)) as mesh:
                await _define_endpoints(Sandbox(mesh, NAMESPACE), rows)
            yield Failing(gateway, model, rows, first, sturdy)
    finally:
        model.kill()


async def _define(own: Sandbox, first: Network, sturdy: Network) -> None:
    """Define the model: a version that fails where it is told to, one that does not, and one that no runtime here has."""
    sources = STORED | {FAULT.name: [f"request:{FAULT.name}"]}
    await own.model(MODEL)
    for number, model in ((FIRST, _brittle(first)), (STURDY, _sturdy(sturdy))):
        await own.register(MODEL, number, model, sources)
        await own.until_runtime(MODEL, number, processes=2)
    await own.register(MODEL, ABSENT, _brittle(first), sources, runtimes=("triton",))


async def _define_endpoints(own: Sandbox, rows: Rows) -> None:
    """Let the first version answer everybody once, so that there are last answers; then let it be as it is to fail."""
    for failure in REASONS:
        for step in STEPS:
            await _lead(own, failure, step, FIRST)
        for batch in rows.batches(own.full(_name(failure, LAST)), _faults(False), _BATCH):
            await own.mesh.gateway.Predict(PredictRequest.FromString(batch), timeout=TIMEOUT_S)
    for step in STEPS:
        await _lead(own, NOT_LOADED, step, ABSENT)


async def _lead(own: Sandbox, failure: str, step: str, version: str) -> None:
    route, name = Route(version=version), own.full(_name(failure, step))
    made = Endpoint(name=name, model=own.full(MODEL), route=route, fallbacks=[STEPS[step]])
    await own.apply(Resource(endpoint=made), allow_unready=True)


def _name(failure: str, step: str) -> str:
    return f"{failure} {step}".replace(" ", "-").replace(".", "-").replace("_", "-")


def _faults(are_there: bool) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return {FAULT.name: np.full(KEYS, int(are_there), np.int64)}


def _brittle(network: Network) -> OnnxModel:
    """The network's answer; but a failure of the runtime where a row's fault is not 0."""
    nodes, weights = network.nodes("plain")
    nodes.append(helper.make_node("Gather", ["nothing", FAULT.name], ["added"]))
    nodes.append(helper.make_node("Add", ["plain", "added"], [SCORE.name]))
    return build(nodes, [FEATURES, FAULT], [SCORE], weights | {"nothing": np.zeros(1, np.float32)})


def _sturdy(network: Network) -> OnnxModel:
    """The network's answer, whatever the fault."""
    nodes, weights = network.nodes("plain")
    nodes.append(helper.make_node("Sub", [FAULT.name, FAULT.name], ["none"]))
    nodes.append(helper.make_node("Gather", ["nothing", "none"], ["added"]))
    nodes.append(helper.make_node("Add", ["plain", "added"], [SCORE.name]))
    return build(nodes, [FEATURES, FAULT], [SCORE], weights | {"nothing": np.zeros(1, np.float32)})
