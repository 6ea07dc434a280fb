"""Asks who calls, and whether it may; the rest of the chain finds it in the call's context."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from services.mesh import context as calls
from services.mesh.admission.gate import Gate
from services.mesh.errors import MeshError
from services.mesh.methods import Method, ServerContext, StreamCall, UnaryCall
from services.mesh.security.audit import Attempt
from services.mesh.security.errors import ABOUT_CALLERS, EndpointNotAllowed, IssuerUnavailable
from services.mesh.security.guard import Guard, check_request, check_role
from services.mesh.security.peer import peer_identity
from services.mesh.security.rules import RULES, UNLISTED, Rule


class Identification:
    """Inside Errors, so that refusals carry a reason; outside Admission, so that only callers who may take up room.

    Calls that it refuses count against what the gates, by the paths of methods, let be taken only to be refused.
    """

    def __init__(self, guard: Guard, gates: Mapping[str, Gate]) -> None:
        self._guard = guard
        self._gates = gates

    def unary(self, method: Method, call: UnaryCall) -> UnaryCall:
        """Refuse whom the method is not for."""
        rule = RULES.get(method.path, UNLISTED)
        if rule.open:
            return call
        door = _Door(self._guard, method, rule, self._gates.get(method.path))

        async def identified(request: Any, context: ServerContext) -> Any:
            if method.request_streaming:
                await door.let_in(None, context)
                return await call(door.each(request, context), context)
            await door.let_in(request, context)
            return await call(request, context)

        return identified

    def stream(self, method: Method, call: StreamCall) -> StreamCall:
        """Refuse whom the method is not for."""
        rule = RULES.get(method.path, UNLISTED)
        if rule.open:
            return call
        door = _Door(self._guard, method, rule, self._gates.get(method.path))

        async def identified(request: Any, context: ServerContext) -> AsyncIterator[Any]:
            await door.let_in(None if method.request_streaming else request, context)
            requests = door.each(request, context) if method.request_streaming else request
            async for response in call(requests, context):
                if not method.request_streaming:
                    # Whoever opened the stream may have lost the right to it; one that asks is looked at as it does.
                    await door.let_in(request, context)
                yield response

        return identified


class _Door:
    """The way into one method."""

    def __init__(self, guard: Guard, method: Method, rule: Rule, gate: Gate | None) -> None:
        self._guard = guard
        self._method = method
        self._rule = rule
        self._gate = gate

    async def let_in(self, request: Any, context: ServerContext) -> None:
        """Note who calls, if it may make this request; None stands for one of a stream that has not been read."""
        running = calls.current()
        assert running is not None
        try:
            caller = running.caller = await self._guard.identify(running.metadata, lambda: peer_identity(context))
            check_role(caller, self._rule, self._method.name)
            if request is not None:
                check_request(caller, self._rule, self._method.name, request)
        except MeshError as error:
            if isinstance(error, (*ABOUT_CALLERS, IssuerUnavailable)):
                self._guard.note(error, self._attempt(running, context))
                if self._gate is not None:
                    self._gate.turned_away()
            if not (self._rule.one_by_one and isinstance(error, EndpointNotAllowed)):
                raise

    async def each(self, requests: AsyncIterator[Any], context: ServerContext) -> AsyncIterator[Any]:
        """Let in each request of a stream: who has lost the right to send it ends the stream with it."""
        async for request in requests:
            await self.let_in(request, context)
            yield request

    def _attempt(self, running: calls.CallContext, context: ServerContext) -> Attempt:
        return Attempt.of(
            self._method.path, context, running.metadata, request_id=running.request_id, caller=running.caller
        )
