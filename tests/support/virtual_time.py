"""An event loop on a clock of its own: who sleeps is woken at once, at the time that he wanted to be woken."""

from __future__ import annotations

import asyncio
import functools
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar
from unittest.mock import patch

P = ParamSpec("P")
T = TypeVar("T")

# What each turn of the loop takes: who waits for less than the clock can tell would otherwise wait for ever.
_TICK_S = 1e-6


class _Selector(selectors.SelectSelector):
    """Does not wait for its timeout: it is over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        assert found or timeout is not None, "everybody waits for somebody else"
        self.now += max(_TICK_S, timeout or 0.0)
        return found


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time, which `time.monotonic` tells everybody meanwhile; work takes next to none of it."""
    selector = _Selector()
    with (
        patch.object(time, "monotonic", lambda: selector.now),
        asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner,
    ):
        return runner.run(main)


def virtually(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Have a test run in virtual time: how long it takes does not depend on what else the machine has to do."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtually(test(*args, **kwargs))

    return run
