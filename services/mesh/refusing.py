"""Refuses calls by what their headers say, before their messages are read: most of what a call costs is never spent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpc
from grpc_status import rpc_status

from services.mesh.admission.gate import Gate
from services.mesh.admission.priority import BY_NAME, PRIORITY, Priority
from services.mesh.errors import MeshError, Overloaded, Reason
from services.mesh.interceptors.context import MAX_REQUEST_ID, REQUEST_ID
from services.mesh.methods import Method
from services.mesh.security.audit import Attempt
from services.mesh.security.caller import Caller
from services.mesh.security.guard import Guard, check_role
from services.mesh.security.peer import peer_identity
from services.mesh.security.rules import EXCHANGE, RULES, UNLISTED
from services.mesh.status import to_status
from services.mesh.telemetry import names

if TYPE_CHECKING:
    from services.mesh.methods import ServerContext

Metadata = Sequence[tuple[str, str | bytes]]
Headers = Mapping[str, str | bytes]
Context = grpc.aio.ServicerContext[Any, Any]
Serve = Callable[[AsyncIterator[Any], Context], Awaitable[None]]
# Different refusals to keep as they are sent; messages may name callers, of whom there may be many.
MOST_PACKED = 256


class Refusing:
    """Stands before one method. It lets pass whom its gate has room for, and leaves it to the gate to count them."""

    def __init__(self, method: Method, gate: Gate) -> None:
        self._gate = gate
        self._errors = names.RPC_ERRORS.labels(method.service, method.name, Reason.OVERLOADED)
        self._durations = names.RPC_SERVER_DURATION.labels(method.service, method.name, Overloaded.code.name)
        self._packed = _Packed()

    def handler(self, metadata: Metadata) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return what answers a call instead of its method; None if there is room for it."""
        if self._gate.has_room(Priority.LOW):
            return None
        sent = dict(metadata)
        priority = BY_NAME.get(sent.get(PRIORITY, Priority.NORMAL.name.lower()))
        if priority is None or self._gate.has_room(priority):
            return None  # who says what is no priority is told so where all else is checked
        error = self._gate.refusal(priority)
        self._errors.inc()
        self._durations.observe(0)
        return _handler(partial(_tell, error, (*self._packed.of(error), *_echoed(sent))))


class Barring:
    """Stands before all methods of a server that has a guard. Whom the headers do not tell apart passes, to be looked into.

    Calls that it turns away count against what the gates, by the paths of methods, let be taken only to be refused.
    """

    def __init__(self, guard: Guard, methods: Iterable[Method], gates: Mapping[str, Gate]) -> None:
        self._guard = guard
        self._gates = gates
        self._turning_away = _TurningAway(guard)
        rules = ((method, RULES.get(method.path, UNLISTED)) for method in methods)
        self._closed = {method.path: (method, rule) for method, rule in rules if not rule.open}

    def handler(self, path: str, metadata: Metadata) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return what answers a call instead of its method; None if its caller may be one who may make it."""
        closed = self._closed.get(path)
        if closed is None:
            return None
        method, rule = closed
        sent, caller = dict(metadata), None
        try:
            caller = self._guard.known(sent, None)
            if caller is not None:
                check_role(caller, rule, method.name)
        except MeshError as error:
            names.RPC_ERRORS.labels(method.service, method.name, error.reason).inc()
            names.RPC_SERVER_DURATION.labels(method.service, method.name, error.code.name).observe(0)
            if path in self._gates:
                self._gates[path].turned_away()
            return _handler(partial(self._turning_away.answer, path, error, sent, caller))
        return None


def for_services(serve: Serve, guard: Guard) -> Serve:
    """Return `serve`, of streams of calls, for services only."""
    turning_away = _TurningAway(guard)

    async def guarded(requests: AsyncIterator[Any], context: Context) -> None:
        sent, caller = dict(context.invocation_metadata() or ()), None
        try:
            caller = await guard.identify(sent, partial(_identity, context))
            check_role(caller, RULES[EXCHANGE], EXCHANGE)
        except MeshError as error:
            await turning_away.answer(EXCHANGE, error, sent, caller, requests, context)
            return
        await serve(requests, context)

    return guarded


class _TurningAway:
    """Tells callers why they are not let in, and the guard who they were."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._packed = _Packed()

    async def answer(
        self, path: str, error: MeshError, sent: Headers, caller: Caller | None, requests: object, context: Context
    ) -> None:
        request_id = str(sent.get(REQUEST_ID, ""))[:MAX_REQUEST_ID]
        attempt = Attempt.of(path, cast("ServerContext", context), sent, request_id=request_id, caller=caller)
        self._guard.note(error, attempt)
        await _tell(error, (*self._packed.of(error), *_echoed(sent)), requests, context)


def _identity(context: Context) -> str | None:
    return peer_identity(cast("ServerContext", context))  # it has the same methods, with types of their own


async def _tell(error: MeshError, trailing: Metadata, _: object, context: Context) -> None:
    context.set_code(grpc.StatusCode[error.code.name])
    context.set_details(error.message)
    context.set_trailing_metadata(trailing)


def _handler(refuse: Callable[[object, Context], Awaitable[None]]) -> grpc.RpcMethodHandler[Any, Any]:
    # A method of streams is called before any message is read, and its status goes out in one piece when it returns.
    return grpc.stream_stream_rpc_method_handler(refuse)


class _Packed:
    """Errors as trailing metadata: most refusals are alike, and to make them costs more than the rest of one."""

    def __init__(self) -> None:
        self._known: dict[tuple[Reason, str, float | None], Metadata] = {}

    def of(self, error: MeshError) -> Metadata:
        """Return the metadata that tells of the error; refusals of one reason differ by nothing but message and time."""
        key = (error.reason, error.message, error.retry_after_s)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MOST_PACKED:
                self._known.clear()
            found = self._known[key] = tuple(rpc_status.to_status(to_status(error)).trailing_metadata)
        return found


def _echoed(sent: Headers) -> Metadata:
    request_id = sent.get(REQUEST_ID)
    return ((REQUEST_ID, str(request_id)[:MAX_REQUEST_ID]),) if request_id else ()
