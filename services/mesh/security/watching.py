"""Notices when files change: also those that Kubernetes mounts, where a link is turned to a new directory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0
# When it was written, how long it is, and which one it is; None if it is not there.
Stamp = tuple[int, int, int] | None


def stamp(file: Path) -> Stamp:
    """Return what is another when the file has been written anew, or another has taken its place."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@asynccontextmanager
async def watching(
    files: Sequence[Path], changed: Callable[[], bool | None], *, every_s: float = LOOK_EVERY_S
) -> AsyncIterator[None]:
    """Call `changed` at first, whenever one of the files has changed, and again while it returns True; in the context.

    At first, as the files may have changed since they were read. What it raises is logged, and ends nothing.
    """
    task = asyncio.create_task(_watch(files, changed, every_s))
    try:
        yield
    finally:
        task.cancel()


async def _watch(files: Sequence[Path], changed: Callable[[], bool | None], every_s: float) -> None:
    known: list[Stamp] = []
    again = True
    while True:
        found = [stamp(file) for file in files]
        if again or found != known:
            known, again = found, _done(changed)
        await asyncio.sleep(every_s)


def _done(changed: Callable[[], bool | None]) -> bool:
    try:
        return bool(changed())
    except Exception:
        logger.exception("a change of files could not be taken; the next one will be")
        return False
