"""Opens the call's context: request id and trace, accepted from the caller or made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from services.mesh import context as calls
from services.mesh.methods import Method, ServerContext, StreamCall, UnaryCall

REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
MAX_REQUEST_ID = 128


class Context:
    """Outermost: the rest of the chain finds its `CallContext` in `services.mesh.context.current()`."""

    def unary(self, method: Method, call: UnaryCall) -> UnaryCall:
        """Open the context for the time of the call."""

        async def in_context(request: Any, context: ServerContext) -> Any:
            token = calls.use(_open(context))
            try:
                return await call(request, context)
            finally:
                calls.reset(token)

        return in_context

    def stream(self, method: Method, call: StreamCall) -> StreamCall:
        """Open the context; a stream runs in a task of its own, so it ends with it."""

        async def in_context(request: Any, context: ServerContext) -> AsyncIterator[Any]:
            calls.use(_open(context))
            async for response in call(request, context):
                yield response

        return in_context


def _open(context: ServerContext) -> calls.CallContext:
    metadata = dict(context.invocation_metadata() or ())
    parent = calls.parse_traceparent(str(metadata[TRACEPARENT])) if TRACEPARENT in metadata else None
    trace_id, span_id, sampled = parent or (calls.new_trace_id(), "", False)
    # Without an id of the caller's the trace id serves: one thing less to look for.
    request_id = str(metadata.get(REQUEST_ID) or trace_id)[:MAX_REQUEST_ID]
    context.set_trailing_metadata(((REQUEST_ID, request_id),))
    return calls.CallContext(request_id, trace_id, span_id, sampled, metadata=metadata)
