"""PredictStream: many requests over one stream, answered by id as they are made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import pytest_asyncio

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from tests.worlds.failures import status_failure
from tests.worlds.models import spinning
from tests.worlds.resources import values
from tests.worlds.sandbox import Sandbox

LONG = 100_000
LIMIT_S = 30.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def paced(own: Sandbox) -> Sandbox:
    """Endpoints `fast` and `slow` of two models that take as long as they are asked to."""
    for name in ("fast", "slow"):
        await own.serve(name, spinning(), {"x": ["request:x"], "spins": ["request:spins"]}, default_timeout_ms=10_000)
    return own


def message(
    own: Sandbox, name: str, number: float = 0, *, endpoint: str = "fast", spins: int = 0, timeout_ms: int = 0
) -> gateway_pb.PredictStreamRequest:
    """A message of a stream."""
    request = own.request(endpoint, {}, {"x": [number], "spins": [spins]})
    return gateway_pb.PredictStreamRequest(id=name, request=request, timeout_ms=timeout_ms)


async def answers(
    own: Sandbox, messages: Iterable[gateway_pb.PredictStreamRequest]
) -> list[gateway_pb.PredictStreamResponse]:
    """Send messages, half-close, and return the answers as they come."""

    async def send() -> AsyncIterator[gateway_pb.PredictStreamRequest]:
        for each in messages:
            yield each

    return [answer async for answer in own.mesh.gateway.PredictStream(send(), timeout=LIMIT_S)]


async def next_id(stream: Any) -> str:
    """Read one answer, and return its id."""
    answer = await stream.read()
    assert isinstance(answer, gateway_pb.PredictStreamResponse)
    return answer.id


async def test_a_thousand_requests(paced: Sandbox) -> None:
    """Each is answered once, by its id, with its own answer; far more than may be under way at once."""
    found = await answers(paced, (message(paced, f"n{n}", n) for n in range(1000)))
    assert {f"n{n}": [float(n)] for n in range(1000)} == {
        each.id: values(each.response.outputs[0]) for each in found if each.WhichOneof("result") == "response"
    }
    assert 1000 == len(found)


async def test_a_caller_that_does_not_read(paced: Sandbox) -> None:
    """Is read no further himself, and gets everything once he reads."""
    stream = paced.mesh.gateway.PredictStream(timeout=LIMIT_S)

    async def send() -> None:
        for n in range(1000):
            await stream.write(message(paced, f"n{n}", n))
        await stream.done_writing()

    sending = asyncio.create_task(send())
    # The answers to others show that the server does not wait for this one.
    assert [5.0] == values((await paced.predict("fast", {}, {"x": [5.0], "spins": [0]})).outputs[0])
    found = [each async for each in stream]
    await sending
    assert {f"n{n}" for n in range(1000)} == {each.id for each in found}


async def test_answers_come_as_they_are_made(paced: Sandbox) -> None:
    """A slow request holds no other back, and answers while the stream is still open for more."""
    stream = paced.mesh.gateway.PredictStream(timeout=LIMIT_S)
    await stream.write(message(paced, "slow", 1, endpoint="slow", spins=LONG))
    await stream.write(message(paced, "fast", 2))
    order = [await next_id(stream), await next_id(stream)]
    await stream.write(message(paced, "last", 3))
    order.append(await next_id(stream))
    await stream.done_writing()
    assert grpc.aio.EOF is await stream.read()
    assert {"slow", "fast"} == set(order[:2])
    assert "last" == order[2]


async def test_a_message_has_its_own_time(paced: Sandbox) -> None:
    """One that is late is told so; the stream and the others live on."""
    found = await answers(
        paced,
        [
            message(paced, "late", 1, endpoint="slow", spins=LONG, timeout_ms=20),
            message(paced, "in time", 2, timeout_ms=5_000),
            message(paced, "default", 3),
        ],
    )
    results = {each.id: each for each in found}
    late = status_failure(results["late"].error)
    assert ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED") == (late.code, late.reason)
    assert [2.0] == values(results["in time"].response.outputs[0])
    assert [3.0] == values(results["default"].response.outputs[0])


async def test_errors_come_by_id(paced: Sandbox) -> None:
    """A bad request of a stream fails alone, with all that a failed call would say."""
    bad = message(paced, "unknown")
    bad.request.endpoint = "nobody"
    short = message(paced, "short")
    del short.request.features[0]
    found = await answers(paced, [bad, message(paced, "good", 4), short, message(paced, "", 5)])
    results = {each.id: each for each in found}
    assert ("NOT_FOUND", "UNKNOWN_ENDPOINT", ("endpoint",)) == status_failure(results["unknown"].error).short
    assert ("INVALID_ARGUMENT", "MISSING_FIELD", ("features",)) == status_failure(results["short"].error).short
    assert ("INVALID_ARGUMENT", "MISSING_FIELD", ("id",)) == status_failure(results[""].error).short
    assert [4.0] == values(results["good"].response.outputs[0])


async def test_a_caller_that_leaves(paced: Sandbox) -> None:
    """Leaves nothing behind that would disturb the next."""
    stream = paced.mesh.gateway.PredictStream(timeout=LIMIT_S)
    for n in range(20):
        await stream.write(message(paced, f"n{n}", n, endpoint="slow", spins=LONG))
    stream.cancel()
    assert [6.0] == values((await paced.predict("slow", {}, {"x": [6.0], "spins": [0]})).outputs[0])
