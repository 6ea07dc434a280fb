"""Refuses calls beyond a bound at once: a queue without one answers everybody too late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.mesh import context as calls
from services.mesh.admission.gate import Gate
from services.mesh.admission.priority import priority_of
from services.mesh.errors import Overloaded
from services.mesh.methods import Method, ServerContext, StreamCall, UnaryCall

RETRY_AFTER_S = 0.1


class Admission:
    """Counts the unary calls under way; streams bound themselves by flow control.

    Methods that have a gate, by path, are let in by it; the others share `max_in_flight`.
    """

    def __init__(self, max_in_flight: int, gates: Mapping[str, Gate]) -> None:
        self._limit = max_in_flight
        self._gates = gates
        self._in_flight = 0

    def unary(self, method: Method, call: UnaryCall) -> UnaryCall:
        """Refuse the call when there is no room for it."""
        gate = self._gates.get(method.path)
        return self._bounded(call) if gate is None else _gated(call, gate)

    def stream(self, method: Method, call: StreamCall) -> StreamCall:
        """Let streams pass."""
        return call

    def _bounded(self, call: UnaryCall) -> UnaryCall:
        async def admitted(request: Any, context: ServerContext) -> Any:
            if self._in_flight >= self._limit:
                raise Overloaded(f"{self._limit} calls are under way; come back later", retry_after_s=RETRY_AFTER_S)
            self._in_flight += 1
            try:
                return await call(request, context)
            finally:
                self._in_flight -= 1

        return admitted


def _gated(call: UnaryCall, gate: Gate) -> UnaryCall:
    async def admitted(request: Any, context: ServerContext) -> Any:
        running = calls.current()
        assert running is not None
        with gate.admit(priority_of(running.metadata)):
            return await call(request, context)

    return admitted
