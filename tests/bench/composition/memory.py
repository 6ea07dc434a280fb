"""What it takes to remember last answers, beside what the gateway counts: its bound holds only if that is right."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import numpy as np

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.types.v1.tensor_pb2 import Tensor
from tests.bench import rivals
from tests.bench.composition.definitions import LADDERED, NAMESPACE, REMEMBERED
from tests.bench.composition.models import Rows, network
from tests.bench.composition.world import World
from tests.bench.load import TOLERANCE
from tests.bench.report import Figure
from tests.bench.rivals import Rival
from tests.bench.workload import KEYS, Floats

if TYPE_CHECKING:
    from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceAsyncStub

BATCH, BATCHES = 250, 200
TIMEOUT_S = 10
BUDGET = 1.25
_BYTES = re.compile(r"^predictmesh_last_answer_bytes ([\d.e+]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Remembered:
    """So many rows were remembered: bytes that the gateway has counted for them, and bytes by which it has grown."""

    rows: int
    counted: float
    grown: float


async def measure(world: World, rows: Rows) -> Remembered:
    """Ask for rows of different keys where nothing is remembered, and then for the same where it is."""
    async with grpc.aio.insecure_channel(world.mesh.target) as channel:
        stub: PredictionServiceAsyncStub = PredictionServiceStub(channel)
        await _ask(stub, rows, LADDERED)
        counted, size = _counted(world.mesh), _size(world.mesh)
        await _ask(stub, rows, REMEMBERED)
    return Remembered(BATCH * BATCHES, _counted(world.mesh) - counted, _size(world.mesh) - size)


async def _ask(stub: PredictionServiceAsyncStub, rows: Rows, endpoint: str) -> None:
    for request, answers in _requests(rows, f"{NAMESPACE}/{endpoint}"):
        response = await stub.Predict(request, timeout=TIMEOUT_S)
        if np.abs(np.array(response.outputs[0].floats) - answers).max() > TOLERANCE:
            raise SystemExit(f"{endpoint} answered wrongly")


def figures(found: Sequence[Remembered]) -> Iterator[Figure]:
    """Compare the two."""
    if found:
        ratios = [each.grown / each.counted for each in found]
        yield Figure("memory of last answers, beside what is counted of it", ratios, "x", BUDGET)


def _requests(rows: Rows, endpoint: str) -> Iterator[tuple[PredictRequest, Floats]]:
    scores = network(1).scores
    for number in range(BATCHES):
        index = np.arange(number * BATCH, (number + 1) * BATCH)
        # No two rows have the same two first keys.
        places = dict(zip(rows.values, (index % KEYS, (index + index // KEYS) % KEYS, index * 3 % KEYS), strict=True))
        entities = [Tensor(name=view, strings=[f"{view}-{key}" for key in keys]) for view, keys in places.items()]
        features = np.concatenate([rows.values[view][keys] for view, keys in places.items()], axis=1)
        yield PredictRequest(endpoint=endpoint, entities=entities), scores(features)


def _size(rival: Rival) -> float:
    return rivals.memory_mib(rival.pids["gateway"]) * 2**20


def _counted(rival: Rival) -> float:
    with urllib.request.urlopen(f"http://{rival.http}/metrics") as answer:
        found = _BYTES.search(answer.read().decode())
    return float(found[1]) if found else 0.0
