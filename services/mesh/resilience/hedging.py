"""Asking a second replica when the first is slow: the first answer wins, and who is late is told that nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeAlias, TypeVar

from services.mesh.resilience.retrying import may_help

T = TypeVar("T")
Answering: TypeAlias = Coroutine[Any, Any, T]


class Race(Generic[T]):
    """One attempt, awaited by the caller's own task, and from a while later on perhaps a second one in a task of its own.

    So a call that is answered in time has cost a timer. When the second one wins, the first is cancelled, as a timeout
    would do it.
    """

    def __init__(self, second: Callable[[], Answering[T] | None]) -> None:
        """Let `second` begin the second attempt, or return None if there is to be none."""
        self._second = second
        self._running: asyncio.Task[T] | None = None
        self._caller: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self.won = False
        """Whether the second attempt answered while the first did not."""

    @property
    def begun(self) -> bool:
        """Whether there is a second attempt."""
        return self._running is not None

    async def run(self, first: Answering[T], after_s: float) -> T:
        """Return the first answer; the second attempt begins after `after_s`.

        Raises what `first` raises, unless that is a failure which the second attempt may spare the caller.
        """
        caller = self._caller = asyncio.current_task()
        assert caller is not None
        self._cancelling = caller.cancelling()
        timer = asyncio.get_running_loop().call_later(after_s, self._begin)
        try:
            return await first
        except asyncio.CancelledError:
            if not self.won or caller.uncancel() > self._cancelling:
                raise
            return self._answer()
        except Exception as error:
            if self._running is None or not may_help(error):
                raise
            # Now there is nothing to win against.
            self._caller = None
            return await self._running
        finally:
            timer.cancel()
            self._end()

    def _begin(self) -> None:
        answering = self._second()
        if answering is not None:
            self._running = asyncio.create_task(answering)
            self._running.add_done_callback(self._answered)

    def _answered(self, second: asyncio.Task[T]) -> None:
        """Let the second attempt win, if it has an answer and the first has not ended."""
        if not second.cancelled() and second.exception() is None and self._caller is not None:
            self.won = True
            self._caller.cancel()

    def _answer(self) -> T:
        assert self._running is not None
        return self._running.result()

    def _end(self) -> None:
        self._caller = None
        if self._running is not None:
            self._running.cancel()
