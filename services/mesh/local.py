"""A servicer with the surface of its stub: calls in the same process, without a wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.mesh.context import current
from services.mesh.deadline import Deadline
from services.mesh.errors import DeadlineExceeded
from services.mesh.feeding import fed, fed_stream
from services.mesh.interceptors.context import REQUEST_ID, TRACEPARENT
from services.mesh.methods import Interceptor, Method, Servicer, StreamCall, intercepted
from services.mesh.security.peer import LOCAL, Peer

Metadata = Sequence[tuple[str, str | bytes]]


class LocalStub:
    """Answers the calls of a generated stub by awaiting the servicer; failures are MeshErrors, as with `RemoteStub`.

    Messages are passed as the objects they are, so neither side may change one that it was given.
    """

    def __init__(self, servicer: Servicer, chain: Sequence[Interceptor]) -> None:
        for method in servicer.methods():
            setattr(self, method.name, _callable(intercepted(method, chain)))


class LocalContext:
    """The server's view of a local call, or of one that has come from `peer` over a stream of calls."""

    def __init__(self, metadata: Metadata, deadline: Deadline | None, peer: Peer = LOCAL) -> None:
        self._metadata = metadata
        self._deadline = deadline
        self._peer = peer

    def invocation_metadata(self) -> Metadata:
        """Return what the caller sent."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """Return the seconds left, or None without a deadline."""
        return None if self._deadline is None else self._deadline.remaining()

    def peer(self) -> str:
        """Return where the call comes from."""
        return self._peer.address

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return what is known of the connection that the call came over; nothing without one."""
        return self._peer.auth_context

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        """Drop it: a local caller has the context itself."""

    def set_code(self, code: object) -> None:
        """Drop it: generated code sets it before it raises."""

    def set_details(self, details: str) -> None:
        """Drop it, like the code."""


def _callable(method: Method) -> Callable[..., Any]:
    if method.unary is not None:
        unary = local_unary(method)
        return fed(unary) if method.request_streaming else unary
    assert method.stream is not None
    stream = _stream(method.stream)
    return fed_stream(stream) if method.request_streaming else stream


def local_unary(method: Method) -> Callable[..., Awaitable[Any]]:
    """Return a unary method as its stub would have it."""
    assert method.unary is not None
    call = method.unary

    async def invoke(request: Any, *, timeout: float | None = None, metadata: Metadata = (), peer: Peer = LOCAL) -> Any:
        context = _context(timeout, metadata, peer)
        if timeout is None:
            return await call(request, context)
        try:
            async with asyncio.timeout(timeout):
                return await call(request, context)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{method.path} took longer than {timeout:.3f} s") from error

    return invoke


def _stream(call: StreamCall) -> Callable[..., AsyncIterator[Any]]:
    def invoke(request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> AsyncIterator[Any]:
        return _consume(call, request, _context(timeout, metadata), timeout)

    return invoke


@dataclass(frozen=True, slots=True)
class _End:
    """Follows the last message of a stream: how the handler ended."""

    error: Exception | None


async def _consume(call: StreamCall, request: Any, context: LocalContext, timeout: float | None) -> AsyncIterator[Any]:
    """Run the handler in a task of its own, as a server would, and hand on what it sends, one message under way."""
    sent: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
    producing = asyncio.create_task(_produce(call(request, context), sent, timeout))
    try:
        while not isinstance(response := await sent.get(), _End):
            yield response
        if isinstance(response.error, TimeoutError):
            raise DeadlineExceeded("the stream's deadline has passed") from response.error
        if response.error is not None:
            raise response.error
    finally:
        producing.cancel()


async def _produce(responses: AsyncIterator[Any], sent: asyncio.Queue[Any], timeout: float | None) -> None:
    end = _End(None)
    try:
        async with asyncio.timeout(timeout):
            async for response in responses:
                await sent.put(response)
    except Exception as error:  # noqa: BLE001 - raised where the responses are awaited
        end = _End(error)
    await sent.put(end)


def _context(timeout: float | None, metadata: Metadata, peer: Peer = LOCAL) -> LocalContext:
    deadline = None if timeout is None else Deadline.after(timeout)
    return LocalContext((*metadata, *call_metadata()), deadline, peer)


def call_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata that makes the next hop part of the call being answered."""
    call = current()
    if call is None:
        return ()
    return ((TRACEPARENT, call.traceparent()), (REQUEST_ID, call.request_id))


def foreign_metadata() -> tuple[tuple[str, str], ...]:
    """Return the same for a server that is not ours: Triton, for one, takes every trace that it is told of for sampled."""
    call = current()
    return call_metadata() if call is None or call.sampled else ((REQUEST_ID, call.request_id),)
