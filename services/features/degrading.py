"""A store whose reads are answered while it is out of reach: by the rows last read, as far as they are remembered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.features.last_read import LastRead
from services.features.reach import Reach
from services.features.stores import OnlineStore
from services.features.stores.turns import Turns
from services.mesh.coalescing import Quantile
from services.mesh.errors import StoreUnavailable

# What a read is taken to last before any has come back.
START_S = 0.005
# A read that gets so many times what nearly all take, and this much, has had ample time.
AMPLE_TIMES = 5
LEAST_AMPLE_S = 0.02
# How long a read is waited for, whatever time its caller has: others travel with him who have less.
PATIENCE_TIMES = 20
LEAST_PATIENCE_S = 0.5


class Stored(NamedTuple):
    """The row of each key, None where there is none. `unreached` [keys] are those that the store did not answer for.

    Their rows are those last read, None where that is not known; `unreached` is None where the store answered for all.
    """

    rows: list[bytes | None]
    unreached: npt.NDArray[np.bool_] | None = None


class DegradingStore:
    """Reads and changes of a store. Reads never fail; changes do, with StoreUnavailable, when it does not answer.

    `most` reads and as many changes are under way at a time, so that neither keep the others waiting. One that waits for
    its turn in vain, `timeout_s` or until its deadline, says nothing of the store.
    """

    def __init__(self, store: OnlineStore, memory: LastRead, *, most: int = 64, timeout_s: float = 2.0) -> None:
        self._store = store
        self._memory = memory
        self._reads = Turns(most, timeout_s=timeout_s)
        self._changes = Turns(most, timeout_s=timeout_s)
        self._reach = Reach(store)
        self._durations = Quantile(0.99, start=START_S)

    @property
    def away(self) -> list[str]:
        """The parts of the store that are not asked, since they do not answer."""
        return sorted(self._reach.away)

    async def read(self, keys: Sequence[bytes]) -> Stored:
        """Return the row of each key."""
        try:
            async with self._reads:
                return await self._read(keys)
        except StoreUnavailable:
            return self._recalled(keys)

    async def put_many(self, keys: Sequence[bytes], rows: Sequence[bytes], ttl_ms: int) -> npt.NDArray[np.bool_]:
        """Write rows, as the store does."""
        async with self._changes:
            with self._memory.changing(keys) as change:
                taken = await self._store.put_many(keys, rows, ttl_ms)
                change.written(rows, taken)
        return taken

    async def delete_many(self, keys: Sequence[bytes]) -> int:
        """Delete rows, as the store does."""
        async with self._changes:
            with self._memory.changing(keys) as change:
                count = await self._store.delete_many(keys)
                change.deleted()
        return count

    async def stop(self) -> None:
        """End what goes on in the background."""
        await self._reach.stop()

    async def _read(self, keys: Sequence[bytes]) -> Stored:
        # What is away is looked up after the wait for a turn: a store that hung meanwhile is not waited for again.
        away = self._reach.away
        if away:
            return await self._read_but(keys, away)
        rows = await self._ask(keys)
        if rows is not None:
            return Stored(rows)
        return self._recalled(keys)

    def _recalled(self, keys: Sequence[bytes]) -> Stored:
        return Stored(self._memory.recall(keys), np.ones(len(keys), np.bool_))

    async def _read_but(self, keys: Sequence[bytes], away: set[str]) -> Stored:
        """Read, but for the parts that are away."""
        unreached = np.array([self._store.part_of(key) in away for key in keys], np.bool_)
        asked = np.flatnonzero(~unreached).tolist()
        answered = await self._ask([keys[place] for place in asked]) if asked else []
        if answered is None:
            asked, answered, unreached[:] = [], [], True
        rows: list[bytes | None] = [None] * len(keys)
        for place, row in zip(asked, answered, strict=True):
            rows[place] = row
        missing = np.flatnonzero(unreached).tolist()
        for place, row in zip(missing, self._memory.recall([keys[place] for place in missing]), strict=True):
            rows[place] = row
        return Stored(rows, unreached if missing else None)

    async def _ask(self, keys: Sequence[bytes]) -> list[bytes | None] | None:
        """Return what the store answers, and remember it; None if it does not answer."""
        start = time.monotonic()
        with self._memory.reading() as reading:
            try:
                async with asyncio.timeout(self._patience_s):
                    rows = await self._store.get_many(keys)
            except TimeoutError:
                self._reach.failed(keys, "the store does not answer in a time in which nearly all reads are answered")
                return None
            except StoreUnavailable as error:
                self._note_failure(keys, error, time.monotonic() - start)
                return None
            self._durations.observe(time.monotonic() - start)
            self._memory.keep(reading, keys, rows)
        self._reach.answered(keys)
        return rows

    @property
    def _patience_s(self) -> float:
        return max(LEAST_PATIENCE_S, PATIENCE_TIMES * self._durations.value)

    def _note_failure(self, keys: Sequence[bytes], error: StoreUnavailable, seconds: float) -> None:
        """Hold it against the store, unless it is only the caller who had little time."""
        ample_s = max(LEAST_AMPLE_S, AMPLE_TIMES * self._durations.value)
        if seconds >= ample_s or not isinstance(error.__cause__, TimeoutError):
            self._reach.failed(keys, error.message)
