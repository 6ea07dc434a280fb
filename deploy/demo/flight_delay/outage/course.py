"""Kills the model process, and asks on until the route's version answers again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import uvloop

from deploy.demo.flight_delay.definitions import RECORDING
from deploy.demo.flight_delay.online.messages import ENDPOINT, predict_request
from deploy.demo.flight_delay.online.player import TIMEOUT_S
from deploy.demo.flight_delay.online.session import channel
from deploy.demo.flight_delay.outage.log import Log
from deploy.demo.flight_delay.outage.summary import Outage, summarize
from deploy.demo.flight_delay.replay import Departure, Recording
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from services.cli.errors import Failure
from services.cli.options import Services
from services.cli.targets import read_up
from services.mesh.status import from_rpc_error

KNOWN = 20
"""Departures that have been asked about when the model process is killed; as many others have not."""
LIMIT_S = 60.0
"""For the model process to be back."""
_PAUSE_S = 0.05


def play_outage(services: Services, trained: Path, start: int, announce: Callable[[str], None]) -> Outage:
    """Ask about departures of the recording from `start` on, kill the model process, and ask about them and as many others.

    Again and again, until the route's version answers all. `announce` is called with each step that is done. Failure if
    the model process does not come back.
    """
    # Of what follows, so that nobody has asked about them, and the store knows nothing that they must not see.
    following = Recording(trained / RECORDING).replay(start + 2 * KNOWN, start)
    departures = [event for event in following if isinstance(event, Departure)]
    return uvloop.run(_play(services, departures, announce))


async def _play(services: Services, departures: Sequence[Departure], announce: Callable[[str], None]) -> Outage:
    async with channel(services.grpc("gateway")) as gateway:
        before, during = (Asking(PredictionServiceStub(gateway)) for _ in range(2))
        await before.ask(departures[:KNOWN])
        killed_s = kill_model(services.data)
        announce("the model process is killed (SIGKILL)")
        while not await during.ask(departures):
            if time.perf_counter() - killed_s > LIMIT_S:
                raise Failure(f"{ENDPOINT} is not answered by its route's version {LIMIT_S:g} s after the kill")
            await asyncio.sleep(_PAUSE_S)
        back_s = time.perf_counter() - killed_s
    announce(f"{ENDPOINT} is answered by its route's version again")
    return summarize(before.log, during.log, back_s)


class Asking:
    """Callers of the endpoint, and what they have been told."""

    def __init__(self, gateway: PredictionServiceStub) -> None:
        self._predict: Any = gateway.Predict
        self.log = Log()

    async def ask(self, departures: Sequence[Departure]) -> bool:
        """Ask about all departures at the same time, one a call; return whether the route's version answered them all."""
        return all(await asyncio.gather(*map(self._ask, departures)))

    async def _ask(self, departure: Departure) -> bool:
        start = time.perf_counter()
        try:
            response = await self._predict(predict_request([departure]), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self.log.fail(from_rpc_error(error))
            return False
        self.log.add(departure, response, time.perf_counter() - start)
        return not response.provenance.ladder


def kill_model(data: Path) -> float:
    """Kill the model process of the `up` on `data`; return when, in seconds of the performance counter."""
    for pid in read_up(data).get("pids", {}).get("model", []):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return time.perf_counter()
