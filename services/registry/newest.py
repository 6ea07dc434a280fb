"""A value of which only the newest matters: whoever is slow skips those between."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """Holds the newest value and wakes those who wait for another; `closed` tells them to wait no longer."""

    def __init__(self, value: T) -> None:
        self.value = value
        self.closed = False
        self._changed = asyncio.Event()

    def set(self, value: T) -> None:
        """Replace the value."""
        self.value = value
        self._wake()

    def close(self) -> None:
        """Wake everybody, to leave."""
        self.closed = True
        self._wake()

    async def woken(self) -> None:
        """Return after the next `set` or `close`."""
        await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
