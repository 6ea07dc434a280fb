"""Connections that pack commands in C: for a read of many keys redis-py's own packing is the largest part of the cost."""

from __future__ import annotations

from typing import Any

import hiredis
from redis.asyncio import Redis


class _PackedByHiredis:
    """Overrides redis.asyncio's packing; the synchronous client of redis-py packs so by itself."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """Return one command in Redis' protocol."""
        name, *rest = args
        return [hiredis.pack_command((*(name.split() if " " in str(name) else (name,)), *rest))]


def packed_by_hiredis(client: Redis) -> Redis:
    """Let the connections that `client` will open pack with hiredis."""
    pool = client.connection_pool
    pool.connection_class = type("PackedConnection", (_PackedByHiredis, pool.connection_class), {})
    return client
