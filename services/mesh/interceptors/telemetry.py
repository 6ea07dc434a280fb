"""Counts and times every call by its status, and traces those that are sampled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from opentelemetry.trace import SpanKind
from prometheus_client import Histogram

from services.mesh import context as calls
from services.mesh.errors import Code, Internal, MeshError
from services.mesh.methods import Method, ServerContext, StreamCall, UnaryCall
from services.mesh.telemetry import names
from services.mesh.telemetry.spans import span
from services.mesh.telemetry.tracing import Tracing


class Telemetry:
    """Outside of Errors, so that it sees every failure by its code and reason."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def unary(self, method: Method, call: UnaryCall) -> UnaryCall:
        """Measure the call."""

        async def measured(request: Any, context: ServerContext) -> Any:
            running = calls.current()
            assert running is not None
            start = time.perf_counter()
            code = Code.OK
            try:
                if not self._tracing.decide(running):
                    return await call(request, context)
                attributes = {"rpc.system.name": "grpc", "request.id": running.request_id}
                with span(method.path[1:], running, SpanKind.SERVER, attributes=attributes):
                    return await call(request, context)
            except BaseException as error:
                code = _count(method, error)
                raise
            finally:
                _duration(method.service, method.name, code).observe(time.perf_counter() - start)

        return measured

    def stream(self, method: Method, call: StreamCall) -> StreamCall:
        """Count how the stream ends; its life says nothing of the service's speed, so it is not timed or traced."""

        async def counted(request: Any, context: ServerContext) -> AsyncIterator[Any]:
            running = calls.current()
            assert running is not None
            self._tracing.decide(running)
            try:
                async for response in call(request, context):
                    yield response
            except BaseException as error:
                _count(method, error)
                raise

        return counted


def _count(method: Method, error: BaseException) -> Code:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return Code.CANCELLED
    known = error if isinstance(error, MeshError) else Internal("")
    names.RPC_ERRORS.labels(method.service, method.name, known.reason).inc()
    return known.code


@cache  # prometheus_client looks a child up by hashing its labels under a lock; this is the cheaper way
def _duration(service: str, method: str, code: Code) -> Histogram:
    return names.RPC_SERVER_DURATION.labels(service, method, code.name)
