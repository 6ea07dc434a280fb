"""Sessions with running services: load the state that the window starts from, play the window."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from deploy.demo.flight_delay.online.answers import Answers
from deploy.demo.flight_delay.online.player import Player
from deploy.demo.flight_delay.online.slices import slices
from deploy.demo.flight_delay.online.ways import Way
from deploy.demo.flight_delay.online.writer import Counts, FeatureWriter
from deploy.demo.flight_delay.replay import Departure, Recording
from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceStub
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from services.cli.client import OPTIONS, failure
from services.cli.options import Services
from services.cli.targets import Target


@dataclass(frozen=True)
class Played:
    """What came of a replay: the answers by version, the rows written, and what was played."""

    answers: dict[str, Answers]
    writes: Counts
    seconds: float
    slices: int
    departures: int
    departures_whole: int
    first: Departure
    last: Departure


async def load(services: Services, recording: Recording) -> int:
    """Write the state of the window's start; return its rows once the store has applied them."""
    async with writing(services) as writer:
        await writer.apply(recording.initial_state())
    return writer.counts.written


async def replay(
    services: Services, recording: Recording, departures: int, ways: Mapping[str, Way], advance: Callable[[int], None]
) -> Played:
    """Play the first departures of the recording on the loaded state; `ways` and `advance` as for Player."""
    parts = list(slices(recording.replay(departures)))
    async with channel(services.grpc("gateway")) as gateway, writing(services) as writer:
        player = Player(PredictionServiceStub(gateway), writer, ways)
        start = time.perf_counter()
        answers = await player.play(parts, advance)
        seconds = time.perf_counter() - start
    return Played(
        answers=answers,
        writes=writer.counts,
        seconds=seconds,
        slices=len(parts),
        departures=sum(len(part.departures) for part in parts),
        departures_whole=len(recording),
        first=parts[0].departures[0],
        last=parts[-1].departures[-1],
    )


@asynccontextmanager
async def writing(services: Services) -> AsyncIterator[FeatureWriter]:
    """Open a writer of features. Failure if the feature service fails."""
    target = services.grpc("features")
    async with channel(target) as features:
        try:
            yield FeatureWriter(FeatureServiceStub(features))
        except grpc.aio.AioRpcError as error:
            # A prediction that fails is counted; what cannot be written ends the replay.
            raise failure(error, target) from error


def channel(target: Target) -> grpc.aio.Channel:
    """Return a channel to `target`, to be closed by the caller."""
    if target.tls is None:
        return grpc.aio.insecure_channel(target.address, options=OPTIONS)
    return grpc.aio.secure_channel(target.address, target.tls.credentials(), options=OPTIONS)
