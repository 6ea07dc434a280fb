"""A caller of the endpoint: asks before each departure, and tells what came true once the flight has left."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from deploy.demo.flight_delay.online.messages import predict_request
from deploy.demo.flight_delay.online.player import TIMEOUT_S
from deploy.demo.flight_delay.online.slices import Slice
from deploy.demo.flight_delay.online.writer import FeatureWriter
from deploy.demo.flight_delay.release.awaited import Awaited
from deploy.demo.flight_delay.replay import Departure
from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse, RecordOutcomeRequest
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from services.mesh.status import from_rpc_error

BOARD = "departure-board"
"""The endpoint."""


class Arm(NamedTuple):
    """Who answered: a version, and the release that gave it the request (0: none)."""

    release_id: int
    version: str


@dataclass
class Tally:
    """What the caller knows of its own calls: answers and outcomes told, by who answered, and failures by message."""

    answers: Counter[Arm] = field(default_factory=Counter)
    outcomes: Counter[Arm] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)


class Board:
    """Asks about one departure a call, without a pin; all calls of a slice are under way at the same time.

    `asked` counts the departures.
    """

    def __init__(self, gateway: PredictionServiceStub, writer: FeatureWriter) -> None:
        self._predict: Any = gateway.Predict
        self._record: Any = gateway.RecordOutcome
        self._writer = writer
        self._awaited = Awaited()
        self._answered_by: dict[str, Arm] = {}
        self.asked = 0
        self.tally = Tally()

    @property
    def awaited(self) -> int:
        """Predictions whose flights have not left."""
        return len(self._awaited)

    async def play(self, parts: Iterable[Slice]) -> int:
        """Play slices one after another: write what became known, tell of the flights that have left, ask about the next.

        Returns the departures once everything is answered. Nobody waits for what is told before that.
        """
        before = self.asked
        async with asyncio.TaskGroup() as telling:
            for part in parts:
                await self._writer.apply(part.updates)
                for outcome in self._awaited.departed(part.departures[0].as_of):
                    telling.create_task(self._tell(*outcome))
                await asyncio.gather(*map(self._ask, part.departures))
        return self.asked - before

    async def _ask(self, departure: Departure) -> None:
        prediction_id = f"{BOARD}-{self.asked}"
        self.asked += 1
        request = predict_request([departure], endpoint=BOARD, prediction_id=prediction_id)
        try:
            response: PredictResponse = await self._predict(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._fail(error)
            return
        arm = Arm(response.provenance.release_id, response.provenance.version)
        self.tally.answers[arm] += 1
        self._answered_by[prediction_id] = arm
        self._awaited.add(prediction_id, departure)

    async def _tell(self, departed: int, prediction_id: str, late: bool) -> None:
        seconds, microseconds = divmod(departed, 1_000_000)
        moment = Timestamp(seconds=seconds, nanos=microseconds * 1_000)
        try:
            request = RecordOutcomeRequest(prediction_id=prediction_id, label=late, time=moment)
            await self._record(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._fail(error)
        else:
            self.tally.outcomes[self._answered_by.pop(prediction_id)] += 1

    def _fail(self, error: grpc.aio.AioRpcError) -> None:
        found = from_rpc_error(error)
        self.tally.failures[f"{found.message} [{found.reason}]"] += 1
