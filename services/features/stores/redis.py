"""Rows in one Redis or Valkey server: standalone, or the primary that Sentinel names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from services.features.stores import Durability
from services.features.stores.limits import limit_s
from services.features.stores.writing import ROWS_PER_SCRIPT, SCRIPT, SCRIPT_SHA, check_confirmed, confirmation, flags
from services.mesh.errors import StoreUnavailable

Command = tuple[Any, ...]

# Packing commands holds up every other call of this process: some 2 ms for this many rows.
ROWS_PER_PIPELINE = 2000


class RedisStore:
    """An OnlineStore in one server. Lost connections are opened again by the next call."""

    def __init__(self, client: Redis, *, kind: str, durability: Durability, timeout_s: float) -> None:
        self.kind = kind
        self._client = client
        self._timeout_s = timeout_s
        self._confirmation = confirmation(durability, timeout_s)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the row of each key, by one MGET."""
        async with answering(self._timeout_s):
            return cast("list[bytes | None]", await self._client.mget(keys))

    async def put_many(self, keys: Sequence[bytes], rows: Sequence[bytes], ttl_ms: int) -> npt.NDArray[np.bool_]:
        """Write rows, some hundreds a script, some scripts a pipeline."""
        pieces = [
            await self._put(keys[at : at + ROWS_PER_PIPELINE], rows[at : at + ROWS_PER_PIPELINE], ttl_ms)
            for at in range(0, len(keys), ROWS_PER_PIPELINE)
        ]
        return flags(b"".join(pieces))

    async def delete_many(self, keys: Sequence[bytes]) -> int:
        """Delete rows."""
        async with answering(self._timeout_s):
            (deleted,) = await self._pipeline([("UNLINK", *keys)])
            return int(deleted)

    async def ping(self) -> None:
        """Return if the server answers."""
        async with answering(self._timeout_s):
            await self._client.ping()

    def part_of(self, key: bytes) -> str:  # noqa: ARG002 - there is one
        """Name the only part."""
        return self.kind

    async def probe(self, key: bytes) -> None:
        """Return if the server answers a read."""
        await self.get_many([key])

    async def _put(self, keys: Sequence[bytes], rows: Sequence[bytes], ttl_ms: int) -> bytes:
        chunks = [
            (
                len(keys[at : at + ROWS_PER_SCRIPT]),
                *keys[at : at + ROWS_PER_SCRIPT],
                ttl_ms,
                *rows[at : at + ROWS_PER_SCRIPT],
            )
            for at in range(0, len(keys), ROWS_PER_SCRIPT)
        ]
        async with answering(self._timeout_s):
            try:
                written = await self._pipeline([("EVALSHA", SCRIPT_SHA, *chunk) for chunk in chunks])
            except NoScriptError:  # the server was started anew
                written = await self._pipeline([("EVAL", SCRIPT, *chunk) for chunk in chunks])
        return b"".join(written)

    async def _pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands on one connection, confirmed if the durability asks for it."""
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            if self._confirmation is None:
                return await pipe.execute()
            pipe.execute_command(*self._confirmation)
            *replies, confirmed = await pipe.execute()
        check_confirmed(confirmed)
        return replies


@asynccontextmanager
async def answering(timeout_s: float) -> AsyncIterator[None]:
    """Turn silence and errors of the store into StoreUnavailable, before the deadline of the call that waits for it."""
    timeout_s = limit_s(timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise StoreUnavailable(f"The feature store did not answer within {timeout_s:.3g} s") from error
    except (RedisError, OSError, RuntimeError) as error:  # RuntimeError: uvloop's, for a transport closed under a write
        raise StoreUnavailable("The feature store does not answer") from error
