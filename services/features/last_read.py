"""The rows last read, for when the store does not answer: as they came from it, bounded in bytes, the oldest forgotten first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Self

import numpy as np
import numpy.typing as npt

from services.features.codec import event_time_us

# Of a row beside its key and its value: two objects, and its place in a dictionary that is half full.
ROW_BYTES = 160
# Rows forgotten at a time: a generation of a hundred thousand would hold up every call for 10 ms.
FORGOTTEN_AT_ONCE = 500

Rows = Sequence[bytes | None]


class Reading:
    """A read under way, for the time of its context; what was written or deleted meanwhile is not to be taken from it."""

    __slots__ = ("_changing", "_under_way", "changed")

    def __init__(self, under_way: list[Reading], changing: list[frozenset[bytes]]) -> None:
        self._under_way = under_way
        self._changing = changing
        self.changed: list[frozenset[bytes]] = []

    def __enter__(self) -> Self:
        self.changed = self._changing.copy()
        self._under_way.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._under_way.remove(self)


class Change:
    """A write or deletion under way, of some keys. What it has done is told by `written` or `deleted`."""

    def __init__(self, memory: LastRead, keys: Sequence[bytes]) -> None:
        self._memory = memory
        self._keys = keys

    def written(self, rows: Sequence[bytes], taken: npt.NDArray[np.bool_]) -> None:
        """Note which rows the store has taken; the others gave way to a later event."""
        for place in self._memory.known(self._keys):
            self._memory.replace(self._keys[place], rows[place], is_taken=bool(taken[place]))

    def deleted(self) -> None:
        """Note that the store has none of the keys any more."""
        self._memory.forget(self._keys)


class LastRead:
    """Rows by store key, in two generations of `max_bytes` together: what is not read while one fills goes with the other.

    Every row is as new as what this process has read, written and deleted: what it wrote is what it remembers, of what it
    has read before. What another process writes is seen when it is read.
    """

    def __init__(self, max_bytes: int) -> None:
        self._generation_bytes = max_bytes // 2
        self._young: dict[bytes, bytes] = {}
        self._young_bytes = 0
        self._old: dict[bytes, bytes] = {}
        self._old_bytes = 0
        self._leaving: dict[bytes, bytes] = {}
        self._readings: list[Reading] = []
        self._changing: list[frozenset[bytes]] = []

    def __len__(self) -> int:
        """How many rows there are; one that is in both generations counts twice."""
        return len(self._young) + len(self._old)

    @property
    def size_bytes(self) -> int:
        """The memory that they take, about."""
        return self._young_bytes + self._old_bytes

    def reading(self) -> Reading:
        """Return the context of a read of the store, whose rows are then told to `keep`."""
        return Reading(self._readings, self._changing)

    @contextmanager
    def changing(self, keys: Sequence[bytes]) -> Iterator[Change]:
        """Accompany a write or deletion; what it does is known once it is told, and unknown if it fails."""
        changed = frozenset(keys)
        for reading in self._readings:
            reading.changed.append(changed)
        self._changing.append(changed)
        try:
            yield Change(self, keys)
        finally:
            self._changing.remove(changed)

    def keep(self, reading: Reading, keys: Sequence[bytes], rows: Rows) -> None:
        """Remember what was read, None for what is not there, but for what changed meanwhile."""
        if not self._generation_bytes:
            return
        if reading.changed:
            changed = frozenset().union(*reading.changed)
            kept = [index for index, key in enumerate(keys) if key not in changed]
            keys, rows = [keys[index] for index in kept], [rows[index] for index in kept]
        # Nearly always: to look costs less than to put the same in its place, and to free what was there.
        if list(map(self._young.get, keys, repeat(b""))) == rows:
            return
        try:
            self._add(keys, rows)  # type: ignore[arg-type]  # a None is met on the way
        except TypeError:
            self.forget([key for key, row in zip(keys, rows, strict=True) if row is None])
            there = [(key, row) for key, row in zip(keys, rows, strict=True) if row is not None]
            self._add([key for key, _ in there], [row for _, row in there])

    def recall(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the row of each key as it was last read, None where that is not known."""
        found = [self._young.get(key) or self._old.get(key) for key in keys]
        # They are in use, and with a part of the store away the rows of the others go on taking room.
        used = [(key, row) for key, row in zip(keys, found, strict=True) if row is not None]
        self._add([key for key, _ in used], [row for _, row in used])
        return found

    def known(self, keys: Sequence[bytes]) -> list[int]:
        """Return the places of the keys whose rows are remembered."""
        young, old = self._young, self._old
        return [place for place, key in enumerate(keys) if key in young or key in old]

    def replace(self, key: bytes, row: bytes, *, is_taken: bool) -> None:
        """Note a write to a row that is remembered: the store has taken `row`, or else holds a later event."""
        known = self._young.get(key) or self._old.get(key, b"")
        if is_taken:
            self._add([key], [row])
        elif (event_time_us(known) or 0) < (event_time_us(row) or 0):
            self.forget([key])

    def forget(self, keys: Sequence[bytes]) -> None:
        """Forget the rows of `keys`."""
        for key in keys:
            if (row := self._young.pop(key, None)) is not None:
                self._young_bytes -= _bytes_of(key, row)
            if (row := self._old.pop(key, None)) is not None:
                self._old_bytes -= _bytes_of(key, row)

    def _add(self, keys: Sequence[bytes], rows: Sequence[bytes]) -> None:
        """Put rows into the young generation; a TypeError for a None leaves it as it was."""
        young = self._young
        gained = sum(map(len, rows)) - sum(map(len, map(young.get, keys, repeat(b""))))
        before = len(young)
        young.update(zip(keys, rows, strict=True))
        added = len(young) - before
        if added:
            gained += added * (ROW_BYTES + sum(map(len, keys)) // len(keys))
        self._young_bytes += gained
        if self._leaving:
            for _ in range(min(FORGOTTEN_AT_ONCE, len(self._leaving))):
                self._leaving.popitem()
        if self._young_bytes > self._generation_bytes:
            self._leaving = self._old
            self._old, self._old_bytes = young, self._young_bytes
            self._young, self._young_bytes = {}, 0


def _bytes_of(key: bytes, row: bytes) -> int:
    return ROW_BYTES + len(key) + len(row)
