"""The open-loop generator sees what a server does: every status, every wrong answer, and connections that it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import Degradation, Provenance
from predictmesh.types.v1.tensor_pb2 import Tensor
from tests.bench.arrivals import DEGRADED, WRONG, OpenLoop, connecting
from tests.bench.load import PREDICT

SCORE = np.array([0.25], np.float32)
REQUESTS = [
    (PredictRequest(endpoint=name).SerializeToString(), SCORE) for name in ("right", "wrong", "degraded", "refused")
]
RATE = 100
SECONDS = 1.0

Predict = Callable[[PredictRequest, grpc.aio.ServicerContext[Any, Any]], Awaitable[PredictResponse]]


def answer(score: float, *degradations: Degradation) -> PredictResponse:
    """An answer of one row."""
    provenance = Provenance(degradations=degradations)
    return PredictResponse(outputs=[Tensor(name="score", floats=[score])], provenance=provenance)


@asynccontextmanager
async def serving(predict: Predict, port: int = 0) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    """A gateway that answers by `predict`."""
    server = grpc.aio.server()
    rpc: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
        predict, PredictRequest.FromString, PredictResponse.SerializeToString
    )
    _, service, method = PREDICT.split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: rpc}),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield server, bound
    finally:
        await server.stop(None)


async def test_every_status_and_every_wrong_answer_is_counted() -> None:
    """Right, wrong, degraded and refused calls are told apart, and all that were due are accounted for."""

    async def predict(request: PredictRequest, context: grpc.aio.ServicerContext[Any, Any]) -> PredictResponse:
        if request.endpoint == "refused":
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        if request.endpoint == "degraded":
            return answer(0.75, Degradation())
        return answer(0.25 if request.endpoint == "right" else 0.75)

    async with serving(predict) as (_, port):
        found = await OpenLoop(REQUESTS, connecting([f"127.0.0.1:{port}"], {})).run(RATE, SECONDS, 2, [])
    assert {"OK", WRONG, DEGRADED, "RESOURCE_EXHAUSTED"} == found.outcomes.keys()
    counts = sorted(found.outcomes.values())
    assert counts[-1] - counts[0] <= 1
    assert found.outcomes == {status: len(latencies) for status, latencies in found.latencies_ms.items()}


async def test_calls_are_made_at_the_rate_however_slow_the_answers() -> None:
    """Calls arrive while none has been answered, and each is charged from when it was due."""
    release = asyncio.Event()
    arrived = 0

    async def predict(request: PredictRequest, context: grpc.aio.ServicerContext[Any, Any]) -> PredictResponse:
        nonlocal arrived
        arrived += 1
        if arrived == RATE // 2:
            release.set()
        await release.wait()
        return answer(0.25)

    async with serving(predict) as (_, port):
        found = await OpenLoop(REQUESTS, connecting([f"127.0.0.1:{port}"], {})).run(RATE, SECONDS, 2, [])
    assert found.outcomes.keys() == {"OK"}


async def test_calls_go_elsewhere_when_a_server_leaves() -> None:
    """The other server gets the calls of the one that has left, and nothing waits for it."""
    arrived = asyncio.Queue[None]()

    async def predict(request: PredictRequest, context: grpc.aio.ServicerContext[Any, Any]) -> PredictResponse:
        arrived.put_nowait(None)
        return answer(0.25)

    async with serving(predict) as (leaving, first), serving(predict) as (_, second):
        targets = [f"127.0.0.1:{port}" for port in (first, second)]
        loop = OpenLoop(REQUESTS, connecting(targets, {}))
        running = asyncio.create_task(loop.run(RATE, 60, 4, []))
        await arrived.get()
        await leaving.stop(10)
        for _ in range(arrived.qsize() + RATE):
            await arrived.get()
        loop.stop()
        found = await running
    # A call that was on its way when the server left may be refused; gRPC's own clients make such a call again.
    assert found.outcomes["OK"] >= RATE // 2
    assert found.outcomes.keys() <= {"OK", "UNAVAILABLE"}
