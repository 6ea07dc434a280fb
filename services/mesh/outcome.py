"""How a call that sends a stream of requests ended, as the server said it."""

from __future__ import annotations

from typing import Any

import grpc

# What grpc.aio puts in place of the server's status when it had one more request to send after the server's last word.
_OVERWRITTEN = (grpc.StatusCode.INTERNAL, "Internal error from Core")
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Outcome:
    """The first status that arrived for `call`. Note it before the call is awaited."""

    def __init__(self, call: grpc.aio.Call) -> None:
        self._first: Any = None
        call.add_done_callback(self._note)

    def _note(self, call: Any) -> None:
        if self._first is None:
            self._first = call._cython_call._status  # noqa: SLF001 - the public way is a coroutine, which runs too late

    def error(self, raised: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError | None:
        """Return what the server failed with, where `raised` hides it; None if the server was content."""
        first = self._first
        if first is None or (raised.code(), raised.details()) != _OVERWRITTEN:
            return raised
        if first.code() == grpc.StatusCode.OK.value[0]:
            return None
        trailing = grpc.aio.Metadata.from_tuple(first.trailing_metadata() or ())
        return grpc.aio.AioRpcError(_CODES[first.code()], raised.initial_metadata(), trailing, first.details())
