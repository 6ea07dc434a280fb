"""A servicer with the surface of its stub: calls in the same process, without a wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from services.mesh.context import current
from services.mesh.deadline import Deadline
from services.mesh.errors import DeadlineExceeded
from services.mesh.interceptors.context import REQUEST_ID, TRACEPARENT
from services.mesh.methods import Interceptor, Method, Servicer, StreamCall, UnaryCall, intercepted

Metadata = Sequence[tuple[str, str | bytes]]


class LocalStub:
    """Answers the calls of a generated stub by awaiting the servicer; failures are MeshErrors, as with `RemoteStub`.

    Messages are passed as the objects they are, so neither side may change one that it was given.
    """

    def __init__(self, servicer: Servicer, chain: Sequence[Interceptor]) -> None:
        for method in servicer.methods():
            setattr(self, method.name, _callable(intercepted(method, chain)))


class LocalContext:
    """The server's view of a local call."""

    def __init__(self, metadata: Metadata, deadline: Deadline | None) -> None:
        self._metadata = metadata
        self._deadline = deadline

    def invocation_metadata(self) -> Metadata:
        """Return what the caller sent."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """Return the seconds left, or None without a deadline."""
        return None if self._deadline is None else self._deadline.remaining()

    def peer(self) -> str:
        """Return where the call comes from."""
        return "local"

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        """Drop it: a local caller has the context itself."""


def _callable(method: Method) -> Callable[..., Any]:
    if method.unary is not None:
        return _unary(method, method.unary)
    assert method.stream is not None
    return _stream(method.stream)


def _unary(method: Method, call: UnaryCall) -> Callable[..., Awaitable[Any]]:
    async def invoke(request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> Any:
        context = _context(timeout, metadata)
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


async def _consume(call: StreamCall, request: Any, context: LocalContext, timeout: float | None) -> AsyncIterator[Any]:
    """Run the handler in a task of its own, as a server would, and hand on what it sends, one message under way."""
    queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)

    async def produce() -> None:
        async with asyncio.timeout(timeout):
            async for response in call(request, context):
                await queue.put(response)

    producing = asyncio.create_task(produce())
    try:
        while (response := await _next(queue, producing)) is not _END:
            yield response
    except TimeoutError as error:
        raise DeadlineExceeded("the stream's deadline has passed") from error
    finally:
        producing.cancel()


_END = object()


async def _next(queue: asyncio.Queue[Any], producing: asyncio.Task[None]) -> Any:
    """Return what was sent next, _END when the handler has ended, or raise what it raised."""
    if queue.empty() and not producing.done():
        taking = asyncio.ensure_future(queue.get())
        await asyncio.wait((taking, producing), return_when=asyncio.FIRST_COMPLETED)
        if taking.done():
            return taking.result()
        taking.cancel()
    if not queue.empty():
        return queue.get_nowait()
    await producing
    return _END


def _context(timeout: float | None, metadata: Metadata) -> LocalContext:
    deadline = None if timeout is None else Deadline.after(timeout)
    return LocalContext((*metadata, *call_metadata()), deadline)


def call_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata that makes the next hop part of the call being answered."""
    call = current()
    if call is None:
        return ()
    return ((TRACEPARENT, call.traceparent()), (REQUEST_ID, call.request_id))
