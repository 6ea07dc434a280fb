"""Rows are sent ahead within a window, counted when they are acknowledged, and sent again after an interruption."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pyarrow as pa
import pytest

from predictmesh.features.v1.features_service_pb2 import (
    RejectedRow,
    StreamFeaturesRequest,
    StreamFeaturesResponse,
    StreamRejection,
)
from services.cli.errors import Failure, Mistake
from services.cli.feature_file import Rows
from services.cli.feature_stream import SHOWN_REJECTIONS, WINDOW, FeatureStream
from services.cli.targets import Target
from services.mesh.errors import InvalidArgument
from services.mesh.status import to_status
from tests.support.rows import view

Answer = Callable[[StreamFeaturesRequest, Any], Awaitable[StreamFeaturesResponse | None]]
NAME = "predictmesh.features.v1.FeatureService"
REFUSED = to_status(InvalidArgument("too long"))


@dataclass
class Service:
    """Keeps what it got and answers each batch as it is told."""

    answer: Answer
    got: list[int] = field(default_factory=list)
    streams: int = 0

    async def stream(self, request_iterator: Any, context: Any) -> AsyncIterator[StreamFeaturesResponse]:
        """Take batches."""
        self.streams += 1
        async for request in request_iterator:
            self.got.append(request.sequence)
            response = await self.answer(request, context)
            if response is not None:
                yield response


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[Target]:
    """Serve on a free port."""
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(
        service.stream,
        request_deserializer=StreamFeaturesRequest.FromString,
        response_serializer=StreamFeaturesResponse.SerializeToString,
    )
    methods = {"StreamFeatures": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Target("features", f"127.0.0.1:{port}", "test")
    finally:
        await server.stop(0)


def rows(batches: int, size: int = 2) -> Iterator[Rows]:
    """Yield batches of rows."""
    for index in range(batches):
        columns = {"tail": pa.array(["N1"] * size), "hour": pa.array(range(size)), "late": pa.array([1.0] * size)}
        yield Rows(1 + index * size, columns, pa.array([5]))


def acknowledge(request: StreamFeaturesRequest, **parts: Any) -> StreamFeaturesResponse:
    """Return the answer that all up to this batch is applied."""
    return StreamFeaturesResponse(acknowledged_sequence=request.sequence, **parts)


async def write(service: Service, batches: int, patience_s: float = 10) -> tuple[Any, list[int]]:
    """Write to the service; return the result and what the progress was told."""
    settled: list[int] = []
    async with serving(service) as target:
        stream = FeatureStream(target, view(), patience_s, settled.append)
        result = await asyncio.to_thread(stream.write, rows(batches))
    return result, settled


async def test_all_is_counted() -> None:
    """Every batch is sent once, in order, and every row counted by what became of it."""

    async def answer(request: StreamFeaturesRequest, context: Any) -> StreamFeaturesResponse:
        return acknowledge(request, written_rows=1, superseded_rows=1)

    service = Service(answer)
    result, settled = await write(service, 20)
    assert list(range(1, 21)) == service.got
    assert (20, 20, 0, 40) == (result.written, result.superseded, result.rejected, sum(settled))


async def test_window() -> None:
    """No more batches are on their way than the window holds; one acknowledgement makes room for several."""
    ahead = 0

    async def answer(request: StreamFeaturesRequest, context: Any) -> StreamFeaturesResponse | None:
        nonlocal ahead
        ahead += 1
        assert ahead <= WINDOW
        if ahead < WINDOW and request.sequence != 20:
            return None
        ahead = 0
        return acknowledge(request, written_rows=2 * WINDOW)

    service = Service(answer)
    _, settled = await write(service, 20)
    assert (list(range(1, 21)), 40) == (service.got, sum(settled))


async def test_interruption() -> None:
    """What was not acknowledged when the service went away is sent again, with the same numbers, and the rest follows."""

    async def answer(request: StreamFeaturesRequest, context: Any) -> StreamFeaturesResponse | None:
        if service.streams == 1 and request.sequence == 5:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        # Of the first stream only two batches were acknowledged before it broke.
        return acknowledge(request, written_rows=2) if service.streams == 2 or request.sequence <= 2 else None

    service = Service(answer)
    result, settled = await write(service, 12)
    again = service.got[service.got.index(3, service.got.index(3) + 1) :]
    assert (2, [1, 2, 3, 4, 5]) == (service.streams, service.got[:5])
    assert list(range(3, 13)) == again
    assert (24, 24) == (result.written, sum(settled))


def test_service_that_stays_away() -> None:
    """A service that cannot be reached for the whole patience ends the command."""
    stream = FeatureStream(Target("features", "127.0.0.1:1", "test"), view(), 0.2, lambda _: None)
    with pytest.raises(Failure, match=r"cannot reach the features at 127\.0\.0\.1:1") as error:
        stream.write(rows(1))
    assert 1 == error.value.exit_code


async def test_service_that_hangs() -> None:
    """A service that takes batches and acknowledges none does not hold the command for ever."""

    async def answer(request: StreamFeaturesRequest, context: Any) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Failure, match=r"acknowledged nothing for 0\.2 s"):
        await write(Service(answer), 1, patience_s=0.2)


async def test_refused_stream() -> None:
    """Any other failure than being away ends the command at once, as the mistake that it is."""

    async def answer(request: StreamFeaturesRequest, context: Any) -> None:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such view")

    service = Service(answer)
    with pytest.raises(Mistake, match="no such view"):
        await write(service, 1)
    assert 1 == service.streams


async def test_early_end() -> None:
    """A stream that ends well before all was acknowledged is a failure of the service."""

    class Ends(Service):
        async def stream(self, request_iterator: Any, context: Any) -> AsyncIterator[StreamFeaturesResponse]:
            """End after the first batch."""
            yield acknowledge(await anext(aiter(request_iterator)))

    async def unused(request: StreamFeaturesRequest, context: Any) -> None:
        raise AssertionError

    with pytest.raises(Failure, match="ended the stream before it acknowledged every row"):
        await write(Ends(unused), 3)


async def test_rejected_rows() -> None:
    """Rejected rows are told by their row in the file; of many only the first."""

    async def answer(request: StreamFeaturesRequest, context: Any) -> StreamFeaturesResponse:
        if request.sequence == 1:
            rejection = StreamRejection(sequence=1, rows=[RejectedRow(row=1, status=REFUSED)])
        else:
            rejection = StreamRejection(sequence=request.sequence, batch_status=REFUSED)
        return acknowledge(request, written_rows=int(request.sequence == 1), rejected=[rejection])

    result, _ = await write(Service(answer), 10)
    assert (1, 19, SHOWN_REJECTIONS) == (result.written, result.rejected, len(result.reasons))
    assert [f"row {row}: too long [INVALID_ARGUMENT]" for row in (2, 3, 4)] == result.reasons[:3]
