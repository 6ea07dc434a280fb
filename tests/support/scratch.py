"""Where tests write: in memory where there is room, as many would wait for a busy disk and none is about one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
ROOM = 8 * 2**30


def write_to_memory() -> None:
    """Have temporary files made in memory, those of processes that tests start too; unless TMPDIR says where."""
    if "TMPDIR" not in os.environ and _room(MEMORY) >= ROOM:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def _room(memory: Path) -> int:
    """Bytes that may be written there, 0 where tests could not run what they have built."""
    if not memory.is_dir():
        return 0
    found = os.statvfs(memory)
    if found.f_flag & (os.ST_NOEXEC | os.ST_RDONLY):
        return 0
    return min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available)
