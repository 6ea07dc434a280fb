"""Plays slices against the services: writes, waits until they are applied, asks, waits for the answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import grpc

from deploy.demo.flight_delay.online.answers import Answers
from deploy.demo.flight_delay.online.messages import predict_request
from deploy.demo.flight_delay.online.slices import Slice
from deploy.demo.flight_delay.online.ways import Way
from deploy.demo.flight_delay.online.writer import FeatureWriter
from deploy.demo.flight_delay.replay import Departure
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from services.mesh.status import from_rpc_error

TIMEOUT_S = 5.0
MAX_ROWS = 256

Call = tuple[str, Sequence[Departure]]


class Player:
    """Asks every version about every departure.

    `ways` says how each is asked. All calls of a slice are under way at the same time.
    """

    def __init__(self, gateway: PredictionServiceStub, writer: FeatureWriter, ways: Mapping[str, Way]) -> None:
        self._predict: Any = gateway.Predict
        self._writer = writer
        self._ways = ways
        self._answers = {version: Answers(version) for version in ways}

    async def play(self, slices: Iterable[Slice], advance: Callable[[int], None]) -> dict[str, Answers]:
        """Play all slices, one after another, and return the answers by version.

        `advance` is called with the departures that are done.
        """
        for part in slices:
            await self._writer.apply(part.updates)
            await asyncio.gather(*(self._ask(version, rows) for version, rows in self._calls(part.departures)))
            advance(len(part.departures))
        return self._answers

    def _calls(self, departures: Sequence[Departure]) -> Iterator[Call]:
        for version, way in self._ways.items():
            for rows in _together(departures) if way.together else ([departure] for departure in departures):
                yield version, rows

    async def _ask(self, version: str, rows: Sequence[Departure]) -> None:
        request = predict_request(rows, self._ways[version].pin)
        start = time.perf_counter()
        try:
            response = await self._predict(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._answers[version].fail(rows, from_rpc_error(error))
        else:
            self._answers[version].add(rows, response, time.perf_counter() - start)


def _together(departures: Sequence[Departure]) -> Iterator[Sequence[Departure]]:
    for _, group in groupby(departures, key=lambda departure: departure.as_of):
        rows = list(group)
        for start in range(0, len(rows), MAX_ROWS):
            yield rows[start : start + MAX_ROWS]
