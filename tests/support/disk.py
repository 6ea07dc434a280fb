"""A disk small enough to be filled."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts import lacking, program

PIECE = bytes(64 * 1024)


@contextmanager
def small_disk(directory: Path, size_mib: int = 64) -> Iterator[Path]:
    """Mount a disk of that size at `directory`; where that is not allowed the test is skipped, or fails under CI=true."""
    if os.geteuid() != 0:
        lacking("not root, who alone may mount a small disk")
    directory.mkdir(parents=True, exist_ok=True)
    command = [program("mount"), "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(directory)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        lacking(f"no small disk can be mounted: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        # Lazily: a process that is about to end may still have a file of it open.
        subprocess.run([program("umount"), "--lazy", str(directory)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no byte on the disk for the time of the context."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(PIECE)
    try:
        yield
    finally:
        filler.unlink()
