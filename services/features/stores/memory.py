"""Rows in the memory of this process, for tests and trials; lost with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from services.features.codec import event_time_us

_FOREVER = float("inf")


class MemoryStore:
    """An OnlineStore in a dictionary. `clock` gives seconds."""

    kind = "memory"

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: dict[bytes, tuple[bytes, float]] = {}

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the row of each key."""
        return [self._get(key) for key in keys]

    async def put_many(self, keys: Sequence[bytes], rows: Sequence[bytes], ttl_ms: int) -> npt.NDArray[np.bool_]:
        """Write rows, each unless a later event is stored."""
        written = [self._put(key, row, ttl_ms) for key, row in zip(keys, rows, strict=True)]
        return np.array(written, np.bool_)

    async def delete_many(self, keys: Sequence[bytes]) -> int:
        """Delete rows."""
        present = {key for key in keys if self._get(key) is not None}
        for key in present:
            del self._rows[key]
        return len(present)

    async def ping(self) -> None:
        """Answer."""

    def part_of(self, key: bytes) -> str:  # noqa: ARG002 - there is one
        """Name the only part."""
        return self.kind

    async def probe(self, key: bytes) -> None:
        """Answer."""

    def _get(self, key: bytes) -> bytes | None:
        row, expires = self._rows.get(key, (None, _FOREVER))
        if row is not None and expires <= self._clock():
            del self._rows[key]
            return None
        return row

    def _put(self, key: bytes, row: bytes, ttl_ms: int) -> bool:
        stored = event_time_us(self._get(key) or b"")
        arriving = event_time_us(row)
        if stored is not None and arriving is not None and stored > arriving:
            return False
        self._rows[key] = (row, self._clock() + ttl_ms / 1000 if ttl_ms else _FOREVER)
        return True
