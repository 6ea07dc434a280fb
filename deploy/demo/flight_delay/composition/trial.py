"""Asks every alternative about the same departures, one alternative after another at each step of time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import cycle, permutations
from pathlib import Path
from typing import Any

import grpc
import uvloop

from deploy.demo.flight_delay.composition.cpu import CpuClock
from deploy.demo.flight_delay.composition.definitions import ALTERNATIVES, CASCADE, ENSEMBLE, define
from deploy.demo.flight_delay.composition.offline import read_cascade, read_ensemble
from deploy.demo.flight_delay.composition.summary import Trial, summarize
from deploy.demo.flight_delay.composition.tally import Tally
from deploy.demo.flight_delay.definitions import RECORDING
from deploy.demo.flight_delay.online.messages import predict_request
from deploy.demo.flight_delay.online.player import TIMEOUT_S
from deploy.demo.flight_delay.online.session import channel, writing
from deploy.demo.flight_delay.online.slices import Slice, slices
from deploy.demo.flight_delay.online.writer import FeatureWriter
from deploy.demo.flight_delay.replay import Departure, Recording
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from services.cli.options import Services
from services.cli.progress import Progress
from services.mesh.status import from_rpc_error

DEPARTURES = 600
"""Two thirds of a day."""
CALLERS = 4
"""So many ask about each departure at the same time: a step of time has few departures, an application many callers."""


def compare_alternatives(
    services: Services, trained: Path, start: int, announce: Callable[[str], None], departures: int = DEPARTURES
) -> Trial:
    """Go on with the recording at `start`, where the store is, for so many departures.

    `announce` is called with each step that is done.
    """
    define(services)
    announce(f"{CASCADE}, a cascade of two models, and {ENSEMBLE}, an ensemble of both, registered")
    recording = Recording(trained / RECORDING)
    end = min(start + departures, len(recording))
    parts = list(slices(recording.replay(end, start)))
    with Progress("comparing", end - start, "departures") as progress:
        begun = time.perf_counter()
        tallies = uvloop.run(_compare(services, parts, progress.advance))
        seconds = time.perf_counter() - begun
    announce("the same departures have been answered by each model alone, by the cascade, and by the ensemble")
    return summarize(tallies, recording, end - start, CALLERS, seconds)


async def _compare(services: Services, parts: Iterable[Slice], advance: Callable[[int], None]) -> Sequence[Tally]:
    async with channel(services.grpc("gateway")) as gateway, writing(services) as writer:
        players = Players(PredictionServiceStub(gateway), writer, CpuClock(services.data))
        return await players.play(parts, advance)


class Players:
    """Ask every alternative about every departure. One's callers have their answers before the next one's ask."""

    def __init__(self, gateway: PredictionServiceStub, writer: FeatureWriter, cpu: CpuClock) -> None:
        self._predict: Any = gateway.Predict
        self._writer = writer
        self._cpu = cpu
        self._cascade, self._ensemble = read_cascade(), read_ensemble()
        self._tallies = [Tally(each, self._cascade if each.version == CASCADE else None) for each in ALTERNATIVES]

    async def play(self, parts: Iterable[Slice], advance: Callable[[int], None]) -> Sequence[Tally]:
        """Play slices one after another. `advance` is called with the departures that are done."""
        # Each follows each of the others equally often: what one leaves to be done hits all alike, as does the machine.
        for part, order in zip(parts, cycle(permutations(self._tallies)), strict=False):
            await self._writer.apply(part.updates)
            asked = [self._composed(departure) for departure in part.departures] * CALLERS
            for tally in order:
                before = self._cpu.read()
                await asyncio.gather(*(self._ask(tally, departure) for departure in asked))
                tally.used(self._cpu.names, before, self._cpu.read())
            advance(len(part.departures))
        return self._tallies

    def _composed(self, departure: Departure) -> Departure:
        """Return the departure with what the composed versions must say of it."""
        scores = departure.scores
        cascade, ensemble = float(self._cascade.score(scores)), float(self._ensemble.score(scores))
        return replace(departure, scores={**scores, CASCADE: cascade, ENSEMBLE: ensemble})

    async def _ask(self, tally: Tally, departure: Departure) -> None:
        request = predict_request([departure], endpoint=tally.alternative.endpoint)
        start = time.perf_counter()
        try:
            response = await self._predict(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            tally.answers.fail([departure], from_rpc_error(error))
        else:
            tally.add(departure, response, time.perf_counter() - start)
