"""What a server must be able to do before rows are trusted to it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from services.features.stores import Durability
from services.features.stores.writing import SCRIPT
from services.mesh.errors import InvalidArgument

logger = logging.getLogger(__name__)

# Runs one command on the server being checked.
Run = Callable[..., Awaitable[Any]]
Info = Mapping[str, Any]


async def server_info(run: Run) -> Info:
    """Return the server's INFO, or nothing where the user may not ask."""
    try:
        info: Info = await run("INFO")
        return info
    except NoPermissionError:
        logger.warning("the store's user may not run INFO: cluster mode, eviction and replicas are not checked")
        return {}


async def check_server(run: Run, info: Info, durability: Durability) -> None:
    """Raise InvalidArgument if the server cannot give the durability; warn if it may evict rows; load the script."""
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction" and not policy.startswith("volatile-"):
        logger.warning("the store may evict feature rows to make room", extra={"maxmemory_policy": policy})
    if durability is Durability.REPLICATED and not info.get("connected_slaves"):
        raise _cannot(durability, "it has no replica")
    if durability is Durability.AOF_ALWAYS:
        await _check_aof(run)
    await run("SCRIPT LOAD", SCRIPT)


async def _check_aof(run: Run) -> None:
    try:
        await run("WAITAOF", 1, 0, 1)
    except ResponseError as error:
        raise _cannot(Durability.AOF_ALWAYS, str(error)) from error


def _cannot(durability: Durability, why: str) -> InvalidArgument:
    return InvalidArgument(f"The store cannot be {durability.value}: {why}", field="durability")
