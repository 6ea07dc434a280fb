"""A value of which only the newest matters: whoever is slow skips those between."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """Holds the newest value until it is closed, and wakes those who wait for another."""

    def __init__(self, value: T) -> None:
        self.value = value
        self.closed = False
        self._changed = asyncio.Event()

    def set(self, value: T) -> None:
        """Replace the value."""
        self.value = value
        self._wake()

    def close(self) -> None:
        """Let nobody wait any more."""
        self.closed = True
        self._wake()

    async def wait_unless(self, seen: T) -> None:
        """Return when the value is not `seen` any more, or will never change again."""
        while self.value is seen and not self.closed:
            await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
