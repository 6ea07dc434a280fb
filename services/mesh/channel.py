"""Calls to other services over gRPC: one channel a target, errors as MeshErrors, the call's trace and id handed on."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import Any, TypeVar

import grpc
from opentelemetry.trace import SpanKind
from prometheus_client import Histogram

from services.mesh.context import current
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, MeshError
from services.mesh.exchange import client as exchanging
from services.mesh.exchange.client import Exchanges, Unsupported
from services.mesh.feeding import fed, fed_stream
from services.mesh.line import Line, UnderWay
from services.mesh.local import Metadata, call_metadata, foreign_metadata
from services.mesh.outcome import Outcome
from services.mesh.probing import health_probe
from services.mesh.security.identity import Identity, open_channel
from services.mesh.security.own_token import OwnToken, of_ours
from services.mesh.security.succession import Moving
from services.mesh.status import from_rpc_error
from services.mesh.telemetry import names
from services.mesh.telemetry.spans import span

S = TypeVar("S")

# One truth for both ends: a server answers GOAWAY to a client that pings more often than it allows.
KEEPALIVE_S = 30
PING_TIMEOUT_S = 10
MAX_MESSAGE_BYTES = 16 * 1024 * 1024


def channel_options(max_message_bytes: int, *, only_serving: bool = False) -> list[tuple[str, str | int]]:
    """Return the options of every channel: spread over all addresses, notice dead peers, come back soon."""
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if only_serving:
        config["healthCheckConfig"] = {"serviceName": ""}
    return [
        ("grpc.service_config", json.dumps(config)),
        # Retries are ours, of mesh/resilience; but what a connection that just ends has not even sent goes over the next.
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
        # The time that sent bytes may go without an acknowledgement: after a cut of the network, sending again waits for as
        # long as the cut has lasted, which a new connection does not.
        ("grpc.keepalive_timeout_ms", 3_000),
        # The time that a ping may go without an answer, gRPC's core has another one for that: a minute, unless it is told.
        ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_S * 1000),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 2_000),  # the time that an attempt to connect is given
        ("grpc.max_reconnect_backoff_ms", 250),  # how late a replica that is back is noticed
        # Else a name whose replicas have all gone is not looked up again for 30 seconds.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
    ]


@asynccontextmanager
async def open_stub(
    target: str,
    stub: Callable[[grpc.aio.Channel], S],
    *,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    only_serving: bool = False,
    exchange: bool = False,
    foreign: bool = False,
    identity: Identity | None = None,
    token: OwnToken | None = None,
) -> AsyncIterator[S]:
    """Open a channel to `target` and yield the stub over it, whose failed calls raise MeshErrors.

    With `identity` it is TLS, and moves to a new connection when the certificate is replaced. With `token` calls show it.

    With `exchange` unary calls go over streams that stay open, where the server is one of ours: for calls on the path of
    predictions.

    With `foreign` the server is not ours, and is told of traces only where they are sampled.

    With `only_serving` no call goes to a replica whose health service says that it is not ready, or not any more; one
    without a health service is taken to be ready.
    """
    options = channel_options(max_message_bytes, only_serving=only_serving)
    streams = exchanging.STREAMS if exchange else 0

    async def opening() -> Line[S]:
        return await open_line(
            target, stub, options, max_message_bytes, streams=streams, foreign=foreign, identity=identity, token=token
        )

    line = await opening()
    if identity is None:
        try:
            yield line.stub
        finally:
            await line.close()
        return
    moving = Moving(line, opening, identity)
    try:
        yield moving.stub
    finally:
        await moving.close()


async def open_line(
    target: str,
    stub: Callable[[grpc.aio.Channel], S],
    options: list[tuple[str, str | int]],
    max_message_bytes: int,
    *,
    streams: int,
    foreign: bool = False,
    identity: Identity | None = None,
    token: OwnToken | None = None,
) -> Line[S]:
    """Return a channel with the stub over it, as for `stub_over`. With `identity` it can end without failing a call."""
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(open_channel(target, options, identity))
        made = await stack.enter_async_context(
            stub_over(channel, stub, max_message_bytes, streams=streams, foreign=foreign, token=token)
        )
        # Counting costs a call a microsecond, and is for connections that are replaced only.
        calls = UnderWay(made) if identity is not None else None
        return Line(channel, made, health_probe(channel), stack.pop_all(), calls)


@asynccontextmanager
async def stub_over(
    channel: grpc.aio.Channel,
    stub: Callable[[grpc.aio.Channel], S],
    max_message_bytes: int,
    *,
    streams: int,
    foreign: bool = False,
    token: OwnToken | None = None,
) -> AsyncIterator[S]:
    """Yield the stub over `channel`, whose unary calls go over so many streams that stay open; 0: each by itself."""
    shown = tuple if token is None else token.metadata
    exchanges = (
        Exchanges(channel, max_message_bytes=max_message_bytes, streams=streams, opened_with=shown) if streams else None
    )
    try:
        yield RemoteStub(stub(channel), exchanges, foreign_metadata if foreign else call_metadata, token)  # type: ignore[misc]  # it has the stub's methods
    finally:
        if exchanges is not None:
            await exchanges.close()


class RemoteStub:
    """A generated stub whose calls carry the running call's trace and raise MeshErrors."""

    def __init__(
        self,
        stub: object,
        exchanges: Exchanges | None = None,
        own_metadata: Callable[[], Metadata] = call_metadata,
        token: OwnToken | None = None,
    ) -> None:
        by_itself = own_metadata if token is None else _with(token, own_metadata)
        for name, call in vars(stub).items():
            path = call._method.decode()  # noqa: SLF001 - the stub has no other word of its methods' paths
            if isinstance(call, grpc.aio.UnaryUnaryMultiCallable):
                if exchanges is None:
                    setattr(self, name, _unary(call, path, by_itself))
                else:
                    setattr(self, name, _unary(_exchanged(call, path, exchanges), path, own_metadata))
            elif isinstance(call, grpc.aio.StreamUnaryMultiCallable):
                setattr(self, name, fed(_unary(_said_by_server(call), path, by_itself)))
            elif isinstance(call, grpc.aio.UnaryStreamMultiCallable):
                setattr(self, name, _stream(call, by_itself))
            else:
                setattr(self, name, fed_stream(_stream(call, by_itself)))


def _with(token: OwnToken, own_metadata: Callable[[], Metadata]) -> Callable[[], Metadata]:
    return lambda: (*own_metadata(), *token.metadata())


def _unary(call: Any, path: str, own_metadata: Callable[[], Metadata]) -> Callable[..., Any]:
    async def plain(request: Any, timeout: float | None, metadata: Metadata) -> Any:
        try:
            return await call(request, timeout=timeout, metadata=(*metadata, *own_metadata()))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def invoke(request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> Any:
        start, code = time.perf_counter(), Code.CANCELLED
        running = current()
        try:
            if running is None or not running.sampled or running.tracer is None:
                answer = await plain(request, timeout, metadata)
            else:
                with span(path[1:], running, SpanKind.CLIENT):
                    answer = await plain(request, timeout, metadata)
            code = Code.OK
            return answer
        except MeshError as error:
            code = error.code
            told = of_ours(error)
            if told is error:
                raise
            raise told from error
        finally:
            _duration(path, code).observe(time.perf_counter() - start)

    return invoke


def _exchanged(call: Any, path: str, exchanges: Exchanges) -> Callable[..., Any]:
    serialize, deserialize = call._request_serializer, call._response_deserializer  # noqa: SLF001

    async def invoke(request: Any, *, timeout: float | None, metadata: Metadata) -> Any:
        deadline = None if timeout is None else Deadline.after(timeout)
        try:
            return deserialize(await exchanges.call(path, serialize(request), timeout, metadata))
        except Unsupported:
            left = None if deadline is None else deadline.remaining()
            return await call(request, timeout=left, metadata=(*metadata, *exchanges.opened_with()))

    return invoke


def _said_by_server(call: Any) -> Callable[..., Any]:
    async def invoke(requests: Any, **options: Any) -> Any:
        streaming = call(requests, **options)
        outcome = Outcome(streaming)
        try:
            return await streaming
        except grpc.aio.AioRpcError as raised:
            raise outcome.error(raised) or raised from None

    return invoke


def _stream(call: Any, own_metadata: Callable[[], Metadata]) -> Callable[..., AsyncIterator[Any]]:
    async def invoke(request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> AsyncIterator[Any]:
        streaming = call(request, timeout=timeout, metadata=(*metadata, *own_metadata()))
        outcome = Outcome(streaming)
        try:
            async for response in streaming:
                yield response
        except grpc.aio.AioRpcError as raised:
            error = outcome.error(raised)
            if error is not None:
                raise of_ours(from_rpc_error(error)) from error
        finally:
            streaming.cancel()

    return invoke


@cache
def _duration(path: str, code: Code) -> Histogram:
    return names.RPC_CLIENT_DURATION.labels(path, code.name)
