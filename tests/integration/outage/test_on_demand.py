"""A model service that is started by calls, and ended when nothing is under way: a gateway that is told so leaves nothing open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest_asyncio

from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from tests.worlds.parts import Part, Parts
from tests.worlds.resources import values
from tests.worlds.sandbox import Sandbox, eventually

LIMIT_S = 60.0


@pytest_asyncio.fixture(loop_scope="session")
async def lazy(whole: Parts) -> AsyncIterator[Part]:
    """Another gateway, of the second model service, which it is to call on demand."""
    target = {"model": whole.models[1].address, "model_on_demand": "true"}
    gateway = replace(Part("gateway", whole.directory / "lazy"), settings={**whole.gateway.settings, **target})
    gateway.start()
    try:
        await gateway.until_ready()
        yield gateway
    finally:
        gateway.stop()


async def _answers(own: Sandbox, gateway: Part) -> bool:
    """Ask for a rider; False where that fails."""
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        try:
            answer = await PredictionServiceStub(channel).Predict(own.request("ride", {"rider_id": ["r7"]}), timeout=10)
        except grpc.aio.AioRpcError:
            return False
        assert [70.0] == values(answer.outputs[0])
        return True


async def test_calls_start_it_again(own: Sandbox, whole: Parts, lazy: Part) -> None:
    """It answers, is ended as soon as it is told to, since nothing is under way, and answers again when it is back."""
    model = whole.models[1]

    async def answered() -> bool:
        return await _answers(own, lazy)

    await eventually(answered, "an answer by the model service", LIMIT_S)
    model.stop()
    assert not await answered()
    model.start()
    await model.until_ready()
    await eventually(answered, "an answer by the model service that is back", LIMIT_S)
