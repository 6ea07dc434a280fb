"""Plays slices against the services: writes, waits until they are applied, asks, waits for the answers."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from deploy.demo.flight_delay.online.messages import predict_request
from deploy.demo.flight_delay.online.slices import Slice
from deploy.demo.flight_delay.online.writer import Counts, FeatureWriter
from deploy.demo.flight_delay.replay import Departure
from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.gateway.v1.provenance_pb2 import Degradation, DegradationReason
from services.cli.labels import words
from services.mesh.errors import MeshError
from services.mesh.status import from_rpc_error, from_status

TIMEOUT_S = 5.0


@dataclass
class Scores:
    """What one version said of the departures that it answered, and what was said offline, row by row."""

    online: array[float] = field(default_factory=lambda: array("f"))
    offline: array[float] = field(default_factory=lambda: array("f"))
    late: array[int] = field(default_factory=lambda: array("b"))


@dataclass
class Played:
    """What came of a replay. Latencies are seconds, one for each answer; `degraded` counts answers by (reason, subject)."""

    scores: dict[str, Scores]
    writes: Counts
    latencies: array[float] = field(default_factory=lambda: array("d"))
    degraded: Counter[tuple[str, str]] = field(default_factory=Counter)
    degraded_answers: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    slices: int = 0
    seconds: float = 0
    departures: list[Departure] = field(default_factory=list)


class Player:
    """Asks every version about every departure. `pins` has each version's pin, empty for the one of the endpoint's route."""

    def __init__(self, gateway: PredictionServiceStub, writer: FeatureWriter, pins: Mapping[str, str]) -> None:
        self._predict: Any = gateway.Predict
        self._writer = writer
        self._pins = pins
        self._played = Played({version: Scores() for version in pins}, writer.counts)

    async def play(self, slices: Iterable[Slice], advance: Callable[[int], None]) -> Played:
        """Play all slices, one after another; `advance` is called with the departures that are done."""
        played, start = self._played, time.perf_counter()
        for part in slices:
            await self._writer.apply(part.updates)
            await asyncio.gather(
                *(self._ask(departure, version) for departure in part.departures for version in self._pins)
            )
            played.slices += 1
            played.departures += part.departures
            advance(len(part.departures))
        played.seconds = time.perf_counter() - start
        return played

    async def _ask(self, departure: Departure, version: str) -> None:
        request = predict_request(departure, self._pins[version])
        start = time.perf_counter()
        try:
            response: PredictResponse = await self._predict(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._fail(from_rpc_error(error))
            return
        self._played.latencies.append(time.perf_counter() - start)
        self._note(departure, version, response)

    def _note(self, departure: Departure, version: str, response: PredictResponse) -> None:
        if response.row_errors:
            self._fail(from_status(response.row_errors[0].status))
            return
        if response.provenance.version != version:
            self._played.failures[f"answered by {response.provenance.version} instead of {version}"] += 1
            return
        scores = self._played.scores[version]
        scores.online.append(response.outputs[0].floats[0])
        scores.offline.append(departure.scores[version])
        scores.late.append(departure.late)
        degradations = response.provenance.degradations
        self._played.degraded_answers += bool(degradations)
        self._played.degraded.update(map(_reason, degradations))

    def _fail(self, error: MeshError) -> None:
        self._played.failures[f"{error.message} [{error.reason}]"] += 1


def _reason(degradation: Degradation) -> tuple[str, str]:
    reason = words(DegradationReason.Name, "DEGRADATION_REASON_", degradation.reason)
    return reason, degradation.subject
