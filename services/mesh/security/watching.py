"""Notices when files change: also those that Kubernetes mounts, where a link is turned to a new directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

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
    files: Sequence[Path], changed: Callable[[], None], *, every_s: float = LOOK_EVERY_S
) -> AsyncIterator[None]:
    """Call `changed`, which must not fail, whenever one of the files has changed, for the time of the context."""
    task = asyncio.create_task(_watch(files, changed, [stamp(file) for file in files], every_s))
    try:
        yield
    finally:
        task.cancel()


async def _watch(files: Sequence[Path], changed: Callable[[], None], known: list[Stamp], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        found = [stamp(file) for file in files]
        if found != known:
            known = found
            changed()
