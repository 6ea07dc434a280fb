"""What a running `up` leaves in its data directory: a lock, and the readiness line. Who restarts its processes locks, too."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.cli.errors import Mistake


@contextmanager
def owned(data: Path) -> Iterator[None]:
    """Create `data` and own it for the time of the context. Mistake if another `up` owns it, or it cannot be written."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        (data / "valkey").mkdir(exist_ok=True)
        lock = (data / "up.lock").open("a+")
    except OSError as error:
        raise Mistake(f"cannot use {data} for data: {error.strerror}") from error
    with lock:
        _take(
            lock.fileno(),
            f"another `predictmesh up` (pid %s) runs on {data} (stop it, or give another --data and --port-base)",
        )
        # Left by an `up` that was killed.
        (data / "up.json").unlink(missing_ok=True)
        try:
            yield
        finally:
            (data / "up.json").unlink(missing_ok=True)


@contextmanager
def restarting(data: Path) -> Iterator[None]:
    """Be the only one who restarts processes of the `up` on `data`. Mistake if somebody else does."""
    with (data / "restart.lock").open("a+") as lock:
        _take(lock.fileno(), f"another `predictmesh restart` (pid %s) is at work on {data} (wait until it is done)")
        yield


def _take(lock: int, refusal: str) -> None:
    """Take a lock, and leave our pid in it. Mistake with `refusal`, which gets the pid of the holder, if it is taken."""
    # The kernel drops the lock with its holder, however that ends.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Mistake(refusal % (os.pread(lock, 32, 0).decode() or "unknown")) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)


def write_line(data: Path, line: Mapping[str, object]) -> None:
    """Leave the readiness line for other commands, with the supervisor's own pid; at once or not at all."""
    partial = data / "up.json.partial"
    partial.write_text(json.dumps({**line, "supervisor": os.getpid()}) + "\n")
    partial.replace(data / "up.json")
