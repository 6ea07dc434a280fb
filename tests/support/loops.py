"""Coroutines where a test cannot be one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine


def in_loop(body: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run it in an event loop of its own; for bodies that hypothesis calls many times."""
    asyncio.run(body())
