"""The gateway without coalescing: every request makes its own two calls. Everything else is the same code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.gateway import lane
from services.gateway.request import Member
from services.gateway.server import build
from services.gateway.settings import Settings
from services.mesh.lifecycle import main


class Immediate:
    """Stands in for the Coalescer: each member is a batch of its own."""

    queued_rows = 0

    def __init__(self, run: Callable[[list[Member]], Awaitable[None]], **_: int) -> None:
        self._run = run
        self._under_way: set[asyncio.Task[None]] = set()

    def submit(self, member: Member) -> None:
        """Send the member at once."""

        async def travel() -> None:
            await self._run([member])

        task = asyncio.create_task(travel())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def left(self, member: Member) -> None:
        """Let the call run out."""


if __name__ == "__main__":
    vars(lane)["Coalescer"] = Immediate
    main(Settings, build)
