"""Refuses calls by what their headers say, before their messages are read: most of what a call costs is never spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from grpc_status import rpc_status

from services.mesh.admission.gate import Gate
from services.mesh.admission.priority import BY_NAME, PRIORITY, Priority
from services.mesh.errors import Code, Overloaded, Reason
from services.mesh.interceptors.context import MAX_REQUEST_ID, REQUEST_ID
from services.mesh.methods import Method
from services.mesh.status import to_status
from services.mesh.telemetry import names

Metadata = Sequence[tuple[str, str | bytes]]


class Refusing:
    """Stands before one method. It lets pass whom its gate has room for, and leaves it to the gate to count them."""

    def __init__(self, method: Method, gate: Gate) -> None:
        self._gate = gate
        self._errors = names.RPC_ERRORS.labels(method.service, method.name, Reason.OVERLOADED)
        code = Code.RESOURCE_EXHAUSTED.name
        self._durations = names.RPC_SERVER_DURATION.labels(method.service, method.name, code)
        self._packed: dict[tuple[str, float | None], Metadata] = {}

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
        request_id = sent.get(REQUEST_ID)
        echoed = ((REQUEST_ID, str(request_id)[:MAX_REQUEST_ID]),) if request_id else ()
        return _answering(error.message, (*self._details(error), *echoed))

    def _details(self, error: Overloaded) -> Metadata:
        """Return the error as trailing metadata; there are few different ones."""
        key = (error.message, error.retry_after_s)
        found = self._packed.get(key)
        if found is None:
            found = self._packed[key] = tuple(rpc_status.to_status(to_status(error)).trailing_metadata)
        return found


def _answering(details: str, trailing: Metadata) -> grpc.RpcMethodHandler[Any, Any]:
    # A method of streams is called before any message is read, and its status goes out in one piece when it returns.
    async def refuse(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
        context.set_details(details)
        context.set_trailing_metadata(trailing)

    return grpc.stream_stream_rpc_method_handler(refuse)
