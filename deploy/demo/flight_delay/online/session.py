"""Sessions with running services: load the state that the window starts from, play the window."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import grpc

from deploy.demo.flight_delay.online.player import Played, Player
from deploy.demo.flight_delay.online.slices import slices
from deploy.demo.flight_delay.online.writer import FeatureWriter
from deploy.demo.flight_delay.replay import Recording
from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceStub
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from services.cli.client import connect_async, failure
from services.cli.options import Services


async def load(services: Services, recording: Recording) -> int:
    """Write the state of the window's start; return its rows once the store has applied them."""
    async with _writing(services) as writer:
        await writer.apply(recording.initial_state())
    return writer.counts.written


async def replay(
    services: Services,
    recording: Recording,
    departures: int,
    pins: Mapping[str, str],
    advance: Callable[[int], None],
) -> Played:
    """Play the first departures of the recording on the loaded state; `pins` and `advance` as for Player."""
    async with (
        connect_async(services.grpc("gateway"), PredictionServiceStub) as gateway,
        _writing(services) as writer,
    ):
        return await Player(gateway, writer, pins).play(slices(recording.replay(departures)), advance)


@asynccontextmanager
async def _writing(services: Services) -> AsyncIterator[FeatureWriter]:
    target = services.grpc("features")
    async with connect_async(target, FeatureServiceStub) as features:
        try:
            yield FeatureWriter(features)
        except grpc.aio.AioRpcError as error:
            # A prediction that fails is counted; what cannot be written ends the replay.
            raise failure(error, target) from error
