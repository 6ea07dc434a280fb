"""Takes calls from the network ahead of answering them, as many as there is room for.

grpc.aio takes one call at a time, and some turns of the event loop later the next. Under load a turn is long, and what has
come meanwhile waits in gRPC's core, in a queue of thousands that nobody sees: hardly two calls travel in one batch, and
calls that nobody waits for any more are answered before those that somebody does. Here calls are asked for ahead, so that
whatever comes in a turn is taken in the next. With no room left none is asked for, and what comes then is refused by the
core, which costs a fraction of the least that Python can do about a call (it says CANCELLED).

The base classes are no public interface of gRPC; where they have changed, calls are taken one at a time again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from grpc._cython import cygrpc
from grpc.aio import _server as aio

# Calls asked for ahead where nobody sets a bound.
AHEAD = 32
# How soon to look for room again where none becomes free.
AGAIN_S = 0.005

# Whether this release of gRPC lets us.
TAKES_AHEAD = hasattr(cygrpc.AioServer, "_make_request_call_future")

Room = Callable[[int], int]


def _ample(waiting: int) -> int:
    return AHEAD - waiting


class _Accepting(cygrpc.AioServer):  # type: ignore[misc]  # it is not typed
    """Has calls ready for the loop that starts them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: Sequence[tuple[str, Any]]) -> None:
        super().__init__(loop, None, (), (), options, None)
        self._running = loop
        self._ready: deque[Any] = deque()
        self._starter: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.asked = 0
        self.room: Room = _ample

    @property
    def ready(self) -> int:
        """Calls that were taken and have not been started."""
        return len(self._ready)

    def close(self) -> None:
        """Ask for no more calls."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _make_request_call_future(self, _method: bytes | None) -> asyncio.Future[Any]:
        """Return what the next call comes by; no method is registered, so that it is of any."""
        future = self._running.create_future()
        if self._ready:
            future.set_result(self._ready.popleft())
        else:
            self._starter = future
        self.ask()
        return future

    def ask(self) -> None:
        """Ask for as many calls as there is room for."""
        room = 0 if self._closed else self.room(len(self._ready))
        while self.asked < room:
            self.asked += 1
            self._running.create_task(self._request_call()).add_done_callback(self._came)
        if room <= 0 and self._timer is None and not self._closed:
            self._timer = self._running.call_later(AGAIN_S, self._ask_again)

    def _ask_again(self) -> None:
        self._timer = None
        self.ask()

    def _came(self, asked: asyncio.Task[Any]) -> None:
        self.asked -= 1
        if asked.cancelled():
            return
        starter, self._starter = self._starter, None
        error = asked.exception()  # the server is going down
        if starter is None or starter.done():
            if error is None:
                self._ready.append(asked.result())
        elif error is None:
            starter.set_result(asked.result())
        else:
            starter.set_exception(error)


class AcceptingServer(aio.Server):
    """A server of grpc.aio. Register no method with it: each would be waited for apart."""

    def __init__(self, options: Sequence[tuple[str, Any]]) -> None:
        self._loop = cygrpc.get_working_loop()
        self._server = _Accepting(self._loop, tuple(options))

    @property
    def asked(self) -> int:
        """Calls that are asked for and have not come yet."""
        asked: int = self._server.asked
        return asked

    def bound(self, room: Room) -> None:
        """Take calls by what `room` answers, given those that were taken and have not been started."""
        self._server.room = room

    def room_left(self) -> None:
        """Look at once whether there is more room than there was."""
        self._server.ask()

    async def stop(self, grace: float | None) -> None:
        """Start what was taken, then stop."""
        self._server.close()
        while self._server.ready:  # noqa: ASYNC110 - they are started in the turns to come
            await asyncio.sleep(0)
        await super().stop(grace)
