"""What the server makes of messages as no caller of ours sends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from predictmesh.mesh.v1.exchange_service_pb2 import Call, ExchangeRequest, ExchangeResponse
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh.errors import Code, Reason
from services.mesh.server import MeshServer
from services.mesh.status import from_status
from tests.support.exchanging import LIMIT_S, Gate, tasks_of
from tests.support.probe import Probe
from tests.support.waiting import eventually

APPLY = "/predictmesh.registry.v1.RegistryService/Apply"
EXCHANGE = "/predictmesh.mesh.v1.ExchangeService/Exchange"
MALFORMED = b"\x0a\xff\xff\xff\xff\x0fnot a message"


class Raw:
    """A stream of bytes to the server, and answers from it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        made: Any = channel.stream_stream(EXCHANGE)
        self.call = made()

    async def send(self, *requests: ExchangeRequest | bytes) -> None:
        """Send messages."""
        for request in requests:
            await self.call.write(request if isinstance(request, bytes) else request.SerializeToString())

    async def read(self) -> ExchangeResponse | None:
        """Return the next answer, or None at the end."""
        async with asyncio.timeout(LIMIT_S):
            data = await self.call.read()
        return None if data is grpc.aio.EOF else ExchangeResponse.FromString(data)

    async def error(self) -> tuple[Code, Reason]:
        """Return what the next answer says went wrong."""
        response = await self.read()
        assert response is not None
        assert response.HasField("error")
        raised = from_status(status_pb2.Status.FromString(response.error.SerializeToString()))
        return raised.code, raised.reason


@pytest.fixture
async def raw(serving: MeshServer) -> AsyncIterator[Raw]:
    """A stream to the server."""
    async with opened(serving) as raw:
        yield raw


@asynccontextmanager
async def opened(serving: MeshServer) -> AsyncIterator[Raw]:
    """Open a stream for the time of the context."""
    async with grpc.aio.insecure_channel(serving.address) as channel:
        raw = Raw(channel)
        try:
            yield raw
        finally:
            raw.call.cancel()


def call(number: int, *, actor: str = "", **fields: Any) -> ExchangeRequest:
    """Return the request for a call whose result is 5."""
    request = registry_pb.ApplyRequest(expected_revision=4, actor=actor).SerializeToString()
    return ExchangeRequest(id=number, call=Call(**{"method": APPLY, "request": request, **fields}))


async def assert_answered(raw: Raw, number: int = 99) -> None:
    """Check that the stream is in order."""
    await raw.send(call(number))
    response = await raw.read()
    assert response is not None
    assert (number, 5) == (response.id, registry_pb.ApplyResponse.FromString(response.response).revision)


async def test_malformed_request_of_a_call(raw: Raw) -> None:
    """It fails that call, as it would by itself."""
    await raw.send(call(1, request=MALFORMED))
    assert (Code.INVALID_ARGUMENT, Reason.MALFORMED_MESSAGE) == await raw.error()
    await assert_answered(raw)


@pytest.mark.parametrize("method", ["/no.such.Service/Method", "", APPLY.replace("Apply", "WatchSnapshot"), EXCHANGE])
async def test_method_that_is_not_unary(raw: Raw, method: str) -> None:
    """What is unknown, streams, or is the stream itself, cannot be called."""
    await raw.send(call(1, method=method))
    assert (Code.UNIMPLEMENTED, Reason.UNKNOWN_METHOD) == await raw.error()
    await assert_answered(raw)


async def test_time_that_has_passed(raw: Raw, probe: Probe) -> None:
    """A negative timeout is refused, and the handler is spared."""
    gate = Gate(probe)
    await raw.send(call(1, timeout_us=-5))
    assert (Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED) == await raw.error()
    assert 0 == gate.calls
    await assert_answered(raw)


async def test_cancelling_what_nobody_called(raw: Raw) -> None:
    """It is passed over: the answer may have crossed it."""
    await raw.send(ExchangeRequest(id=7, cancel=True))
    await assert_answered(raw, 7)
    await raw.send(ExchangeRequest(id=7, cancel=True))
    await assert_answered(raw, 8)


async def test_kind_of_a_newer_caller(raw: Raw, probe: Probe) -> None:
    """A message that is neither call nor cancellation, so far as this server knows, does nothing to the call it names."""
    gate = Gate(probe)
    await raw.send(call(1, actor="slow"))
    await eventually(lambda: gate.held == 1)
    await raw.send(ExchangeRequest(id=1), ExchangeRequest(id=1).SerializeToString() + b"\xfa\x3e\x03new")
    await assert_answered(raw)
    assert 1 == gate.held


async def test_call_cancelled_in_the_same_breath(raw: Raw) -> None:
    """A call that had no time to begin leaves nothing behind: its number is free, and the stream ends."""
    for _ in range(20):
        await raw.send(call(1), ExchangeRequest(id=1, cancel=True))
    await raw.call.done_writing()
    while await raw.read() is not None:
        pass
    assert grpc.StatusCode.OK == await raw.call.code()


async def test_message_that_is_none(raw: Raw, probe: Probe) -> None:
    """It ends the stream, after the answers of those under way."""
    gate = Gate(probe)
    await raw.send(call(1, actor="slow"), MALFORMED)
    await eventually(lambda: gate.held == 1 and not tasks_of("_Stream._read"))
    gate.open.set()
    response = await raw.read()
    assert response is not None
    assert (1, True) == (response.id, response.HasField("response"))
    assert await raw.read() is None


async def test_number_that_is_taken(raw: Raw, probe: Probe) -> None:
    """It ends the stream; of the two calls the first is answered, once."""
    gate = Gate(probe)
    await raw.send(call(1, actor="slow"), call(1, actor="slow"))
    await eventually(lambda: gate.held == 1 and not tasks_of("_Stream._read"))
    gate.open.set()
    assert await raw.read() is not None
    assert await raw.read() is None
    assert 1 == gate.calls


async def test_drain_is_told(serving: MeshServer, raw: Raw) -> None:
    """An open stream hears of it; its calls are answered until the caller ends it, and then the server is free to go."""
    await assert_answered(raw, 1)
    stopping = asyncio.create_task(serving.stop(LIMIT_S))
    response = await raw.read()
    assert response is not None
    assert (0, True) == (response.id, response.draining)
    await assert_answered(raw, 2)
    await raw.call.done_writing()
    assert await raw.read() is None
    async with asyncio.timeout(LIMIT_S / 2):
        await stopping


async def test_caller_who_vanishes(serving: MeshServer, probe: Probe) -> None:
    """Nothing of his calls is left at the server."""
    gate = Gate(probe)
    async with opened(serving) as raw:
        await raw.send(*(call(number, actor="slow") for number in range(1, 6)))
        await eventually(lambda: gate.held == 5)
    await eventually(lambda: gate.held == 0 and not tasks_of("_Stream._read") + tasks_of("_Stream._run"))
