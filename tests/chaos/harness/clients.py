"""Callers who behave badly: who connect and say nothing or nonsense, and who ask without ever reading an answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc

from predictmesh.gateway.v1 import prediction_service_pb2 as pb
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from tests.chaos.harness.callers import PLAIN
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.ground import Ground
from tests.support.link import Link, Weather
from tests.worlds.parts import Part
from tests.worlds.resources import tensor

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EMPTY_SETTINGS = bytes(3) + b"\x04" + bytes(5)
# What connections say first; the first says nothing, the last would be a gRPC client's, who then leaves it at that.
GREETINGS = (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)), PREFACE + EMPTY_SETTINGS)
STORM_CONNECTIONS = 400
STORM_AT_ONCE = 100
SLOW_READERS, SLOW_ROWS, SLOW_EVERY_S = 8, 10, 0.02
TRICKLE = Weather(bytes_per_s=1_000)


@asynccontextmanager
async def _meanwhile(*doings: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do all of that until the context ends; what fails earlier, fails it."""
    tasks = [asyncio.create_task(doing) for doing in doings]
    try:
        yield
    finally:
        failed = [task for task in tasks if task.done() and not task.cancelled() and task.exception()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in failed:
        task.result()


@asynccontextmanager
async def storm(gateway: Part) -> AsyncIterator[None]:
    """Connect, again and again, so that hundreds of connections are open at any time and as many come and go."""
    async with _meanwhile(*(_connect_for_ever(gateway, number) for number in range(STORM_AT_ONCE))):
        yield


async def _connect_for_ever(gateway: Part, number: int) -> None:
    held = STORM_CONNECTIONS // STORM_AT_ONCE
    while True:
        async with AsyncExitStack() as stack:
            for each in range(held):
                _, writer = await asyncio.open_connection("127.0.0.1", gateway.grpc_port)
                stack.callback(_abort, writer)
                # The server may have hung up already, which is its right.
                with contextlib.suppress(ConnectionError):
                    writer.write(GREETINGS[(number + each) % len(GREETINGS)])
                await asyncio.sleep(0.05)


def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@asynccontextmanager
async def slow_readers(fleet: Fleet, ground: Ground) -> AsyncIterator[None]:
    """Ask without a pause over connections that bring a kilobyte of the answers a second."""
    link = fleet.links["gateway-1"]
    link.answers = TRICKLE
    try:
        async with _meanwhile(*(_ask_for_ever(link, ground, number) for number in range(SLOW_READERS))):
            yield
    finally:
        link.answers = None
        link.reset()


async def _ask_for_ever(link: Link, ground: Ground, number: int) -> None:
    """Half of the callers send all over one stream, half as calls of their own."""
    riders = [f"r{rider}" for rider in range(SLOW_ROWS)]
    request = pb.PredictRequest(endpoint=f"{ground.namespace}/{PLAIN}", entities=[tensor("rider_id", riders)])
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(link.address, options=options) as channel:
        stub = PredictionServiceStub(channel)
        if number % 2:
            await _over_one_stream(stub, request)
        else:
            await _as_calls(stub, request)


async def _over_one_stream(stub: Any, request: pb.PredictRequest) -> None:
    stream = stub.PredictStream()
    for number in range(1_000_000):
        message = pb.PredictStreamRequest(id=str(number), request=request, timeout_ms=60_000)
        await stream.write(message)


async def _as_calls(stub: Any, request: pb.PredictRequest) -> None:
    calls: list[Any] = []
    while True:
        calls = [call for call in calls if not call.done()][-100:]
        calls.append(stub.Predict(request, timeout=60))
        await asyncio.sleep(SLOW_EVERY_S)
