"""Refuses calls beyond a bound at once: a queue without one answers everybody too late."""

from __future__ import annotations

from typing import Any

from services.mesh.errors import Overloaded
from services.mesh.methods import Method, ServerContext, StreamCall, UnaryCall

RETRY_AFTER_S = 0.1


class Admission:
    """Counts the unary calls under way; streams bound themselves by flow control."""

    def __init__(self, max_in_flight: int) -> None:
        self._limit = max_in_flight
        self._in_flight = 0

    def unary(self, method: Method, call: UnaryCall) -> UnaryCall:
        """Refuse the call when `max_in_flight` others are under way."""

        async def admitted(request: Any, context: ServerContext) -> Any:
            if self._in_flight >= self._limit:
                raise Overloaded(f"{self._limit} calls are under way; come back later", retry_after_s=RETRY_AFTER_S)
            self._in_flight += 1
            try:
                return await call(request, context)
            finally:
                self._in_flight -= 1

        return admitted

    def stream(self, method: Method, call: StreamCall) -> StreamCall:
        """Let streams pass."""
        return call
