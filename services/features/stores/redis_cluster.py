"""Rows in a Redis or Valkey Cluster: one pipeline a node, keys of one slot in one command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, SlotNotCoveredError

from services.features.stores import Durability
from services.features.stores.redis import Command, answering
from services.features.stores.writing import ROWS_PER_SCRIPT, SCRIPT, SCRIPT_SHA, check_confirmed, confirmation, flags
from services.mesh.errors import StoreUnavailable

# For a probe's read, so that time is left to ask the other nodes.
PROBE_S = 0.5

# Rows of one command, by their place in the batch.
Places = list[int]


class RedisClusterStore:
    """An OnlineStore in a cluster. Slots that move are followed, lost connections opened again by the next call."""

    kind = "cluster"

    def __init__(self, client: RedisCluster, *, durability: Durability, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._confirmation = confirmation(durability, timeout_s)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the row of each key."""
        slots = _by_slot(keys)
        commands = {slot: ("MGET", *(keys[place] for place in places)) for slot, places in slots.items()}
        async with answering(self._timeout_s):
            replies = await self._follow(commands)
        rows: list[bytes | None] = [None] * len(keys)
        for slot, places in slots.items():
            for place, row in zip(places, replies[slot], strict=True):
                rows[place] = row
        return rows

    async def put_many(self, keys: Sequence[bytes], rows: Sequence[bytes], ttl_ms: int) -> npt.NDArray[np.bool_]:
        """Write rows, one script a slot."""
        written = np.zeros(len(keys), np.bool_)
        # Almost always one round; rows beyond the limit of a script follow in the next, in their order.
        slots = _by_slot(keys)
        while slots:
            now = {slot: places[:ROWS_PER_SCRIPT] for slot, places in slots.items()}
            slots = {slot: places[ROWS_PER_SCRIPT:] for slot, places in slots.items() if len(places) > ROWS_PER_SCRIPT}
            arguments = {
                slot: (len(places), *(keys[place] for place in places), ttl_ms, *(rows[place] for place in places))
                for slot, places in now.items()
            }
            async with answering(self._timeout_s):
                replies = await self._write(arguments)
            for slot, places in now.items():
                written[places] = flags(replies[slot])
        return written

    async def delete_many(self, keys: Sequence[bytes]) -> int:
        """Delete rows."""
        slots = _by_slot(keys)
        commands = {slot: ("UNLINK", *(keys[place] for place in places)) for slot, places in slots.items()}
        async with answering(self._timeout_s):
            return sum((await self._confirm(commands)).values())

    async def ping(self) -> None:
        """Return if every primary answers."""
        async with answering(self._timeout_s):
            await self._client.ping(target_nodes=RedisCluster.PRIMARIES)

    def part_of(self, key: bytes) -> str:
        """Name the primary of the key's slot; "" while nobody is known to hold it."""
        try:
            return self._node(key_slot(key)).name
        except SlotNotCoveredError:
            return ""

    async def probe(self, key: bytes) -> None:
        """Return if the primary of the key's slot answers a read; if not, ask the others who is that now.

        The client itself would close its connections to all of them first, under the reads of those that are well.
        """
        name = self.part_of(key)
        try:
            async with answering(min(self._timeout_s, PROBE_S)):
                await self._node(key_slot(key)).execute_command("MGET", key)
        except StoreUnavailable:
            with contextlib.suppress(RedisError, OSError):
                await self._client.nodes_manager.initialize(last_failed_node_name=name)
            raise

    async def _write(self, arguments: Mapping[int, Command]) -> dict[int, Any]:
        try:
            return await self._confirm({slot: ("EVALSHA", SCRIPT_SHA, *each) for slot, each in arguments.items()})
        except NoScriptError:  # a primary was started anew, or a replica became one
            return await self._confirm({slot: ("EVAL", SCRIPT, *each) for slot, each in arguments.items()})

    async def _follow(self, commands: Mapping[int, Command]) -> dict[int, Any]:
        """Run one command a slot, wherever the slot is now."""
        async with self._client.pipeline() as pipe:
            for slot, command in commands.items():
                _ = pipe.execute_command(*command, target_nodes=self._node(slot))
            return dict(zip(commands, await pipe.execute(), strict=True))

    async def _confirm(self, commands: Mapping[int, Command]) -> dict[int, Any]:
        """Run one writing command a slot, confirmed if the durability asks for it."""
        if self._confirmation is None:
            return await self._follow(commands)
        nodes = {slot: self._node(slot) for slot in commands}
        async with self._client.pipeline() as pipe:
            for slot, command in commands.items():
                _ = pipe.execute_command(*command, target_nodes=nodes[slot])
            # It waits for what its own connection wrote: a node's commands share one, and this comes last.
            for node in _different(nodes.values()):
                _ = pipe.execute_command(*self._confirmation, target_nodes=node)
            replies = await pipe.execute(raise_on_error=False, allow_redirections=False)
        if any(isinstance(reply, MovedError | AskError) for reply in replies):
            # A redirected command runs on a connection that nothing waited for. This follows it and learns the new place.
            await self._follow(commands)
            raise StoreUnavailable("A slot of the store moved while rows were written; send them again")
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        for reply in replies[len(commands) :]:
            check_confirmed(reply)
        return dict(zip(commands, replies, strict=False))

    def _node(self, slot: int) -> ClusterNode:
        return self._client.nodes_manager.get_node_from_slot(slot)


def _by_slot(keys: Sequence[bytes]) -> dict[int, Places]:
    slots: dict[int, Places] = {}
    for place, key in enumerate(keys):
        slots.setdefault(key_slot(key), []).append(place)
    return slots


def _different(nodes: Iterable[ClusterNode]) -> Iterable[ClusterNode]:
    return {node.name: node for node in nodes}.values()
