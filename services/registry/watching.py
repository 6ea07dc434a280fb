"""What a watcher is sent: the newest revision whenever it has an older one, and signs of life between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from services.registry.ledger import Revision
from services.registry.newest import Newest


async def watch(
    newest: Newest[Revision], known_log_id: str, known_revision: int, heartbeat_s: float
) -> AsyncIterator[Revision | None]:
    """The newest revision now, unless the watcher has it, and each newer one; None every `heartbeat_s` seconds.

    The first comes at once. While the watcher is busy with one, those that come are one: the newest. Ends on closing.
    """
    while not newest.closed:
        current = newest.value
        if current.log_id == known_log_id and current.number <= known_revision:
            yield None
        else:
            known_log_id, known_revision = current.log_id, current.number
            yield current
        # Much may have happened while the watcher took the last one.
        if newest.value is current and not newest.closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(heartbeat_s):
                    await newest.woken()
