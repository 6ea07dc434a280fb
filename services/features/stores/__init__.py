"""Where packed rows live: the port and what its adapters share."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Durability(enum.StrEnum):
    """What an acknowledged write has survived."""

    APPLIED = "applied"
    """In the store's memory: it outlives the loss of the store's process only as far as its AOF reaches."""
    AOF_ALWAYS = "aof_always"
    """On the disk of the store (WAITAOF): it outlives a power loss."""
    REPLICATED = "replicated"
    """In the memory of one replica too (WAIT): it outlives a failover."""


class WritableStore(Protocol):
    """Takes packed rows by key. Every method raises StoreUnavailable when the store does not answer."""

    async def put_many(self, keys: Sequence[bytes], rows: Sequence[bytes], ttl_ms: int) -> npt.NDArray[np.bool_]:
        """Write rows in order, each unless a later event is stored; of equal events the last to arrive stays.

        Returns which rows were written when all of them are applied. Rows live `ttl_ms` from now; 0: for ever. After a
        failure some rows may be written; writing them all again is safe.
        """

    async def delete_many(self, keys: Sequence[bytes]) -> int:
        """Delete rows and return how many there were."""


class OnlineStore(WritableStore, Protocol):
    """Holds one packed row a key. Every method raises StoreUnavailable when the store does not answer."""

    kind: str
    """What it is, for status and logs: memory, standalone, cluster, sentinel."""

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the row of each key, None where there is none."""

    async def ping(self) -> None:
        """Return if the store answers."""

    def part_of(self, key: bytes) -> str:
        """Name the part of the store that holds `key`: what may fail while the others answer."""

    async def probe(self, key: bytes) -> None:
        """Return if the part that holds `key` answers reads; where another has taken over for it, that is found out."""
