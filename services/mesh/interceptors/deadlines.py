"""Notes the caller's deadline, so that every hop below spends what is left of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from services.mesh import context as calls
from services.mesh.deadline import from_time_remaining
from services.mesh.errors import DeadlineExceeded
from services.mesh.methods import Method, ServerContext, StreamCall, UnaryCall


class Deadlines:
    """Innermost. A call without a deadline gets none here: the endpoint, or the service, has the default."""

    def unary(self, method: Method, call: UnaryCall) -> UnaryCall:
        """Refuse what is too late already."""

        async def timed(request: Any, context: ServerContext) -> Any:
            _note(context)
            return await call(request, context)

        return timed

    def stream(self, method: Method, call: StreamCall) -> StreamCall:
        """Refuse what is too late already."""

        async def timed(request: Any, context: ServerContext) -> AsyncIterator[Any]:
            _note(context)
            async for response in call(request, context):
                yield response

        return timed


def _note(context: ServerContext) -> None:
    deadline = from_time_remaining(context.time_remaining())
    if deadline is None:
        return
    if deadline.remaining() <= 0:
        raise DeadlineExceeded("the deadline had passed when the call arrived")
    running = calls.current()
    if running is not None:
        running.deadline = deadline
