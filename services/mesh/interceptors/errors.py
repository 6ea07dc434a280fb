"""Turns whatever a handler raises into a MeshError; the cause stays in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError

from services.mesh.errors import Internal, MalformedMessage, MeshError, UnknownMethod
from services.mesh.methods import Method, ServerContext, StreamCall, UnaryCall

logger = logging.getLogger(__name__)


class Malformed:
    """Stands for a message that could not be parsed, until the Errors interceptor meets it.

    grpc.aio parses before any handler runs and would answer UNKNOWN with the parser's text.
    """


MALFORMED = Malformed()


def tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return a deserializer that answers MALFORMED instead of raising."""

    def parse(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return MALFORMED

    return parse


class Errors:
    """Lets MeshErrors through, hides everything else."""

    def unary(self, method: Method, call: UnaryCall) -> UnaryCall:
        """Check the message was parsed, and guard the call."""

        async def guarded(request: Any, context: ServerContext) -> Any:
            if request is MALFORMED:
                raise _malformed(method)
            try:
                return await call(_checked(request, method) if method.request_streaming else request, context)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, MeshError) or _is_cancelled(error):
                    raise
                raise _translated(method, error) from error

        return guarded

    def stream(self, method: Method, call: StreamCall) -> StreamCall:
        """Check each message was parsed, and guard the stream."""

        async def guarded(request: Any, context: ServerContext) -> AsyncIterator[Any]:
            if request is MALFORMED:
                raise _malformed(method)
            try:
                async for response in call(_checked(request, method) if method.request_streaming else request, context):
                    yield response
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, MeshError) or _is_cancelled(error):
                    raise
                raise _translated(method, error) from error

        return guarded


async def _checked(requests: AsyncIterator[Any], method: Method) -> AsyncIterator[Any]:
    async for request in requests:
        if request is MALFORMED:
            raise _malformed(method)
        yield request


def _malformed(method: Method) -> MalformedMessage:
    return MalformedMessage(f"the request is not the message that {method.path} takes", method=method.path)


def _is_cancelled(error: BaseException) -> bool:
    """Return whether the call is being cancelled; else a CancelledError is that of something the handler awaited.

    grpc.aio takes both for the former, and would leave the caller without an answer.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _translated(method: Method, error: BaseException) -> MeshError:
    if isinstance(error, NotImplementedError):  # from the generated base class
        return UnknownMethod(f"{method.path} is not implemented")
    logger.error("unexpected error", exc_info=error, extra={"method": method.path})
    return Internal("internal error; the server's log has the cause under this call's trace id")
