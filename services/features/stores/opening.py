"""Opens the store that a URL names, and refuses settings that it cannot honour."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from services.features.stores import Durability, OnlineStore
from services.features.stores.checks import check_server, server_info
from services.features.stores.connections import packed_by_hiredis
from services.features.stores.memory import MemoryStore
from services.features.stores.redis import RedisStore, answering
from services.features.stores.redis_cluster import RedisClusterStore
from services.mesh.errors import InvalidArgument, StoreUnavailable

ASK_AGAIN_S = 0.1
LEAST_SPARE = 2

T = TypeVar("T")


@dataclass(frozen=True)
class StoreOptions:
    """How to use a store, whatever its kind. `start_timeout_s` is how long to wait for it when opening.

    `max_connections` is how many reads, and how many writes, its users make at a time.
    """

    durability: Durability = Durability.APPLIED
    timeout_s: float = 2.0
    start_timeout_s: float = 10.0
    max_connections: int = 64

    def of_client(self) -> dict[str, Any]:
        """Return the keywords that every client of redis-py takes."""
        return {
            "protocol": 2,  # what every server and proxy speaks
            # Every call here has a limit of its own. redis-py's would be a task for each command, and in Python 3.11 one
            # that ends just as its caller leaves (asyncio.wait_for) keeps him.
            "socket_timeout": None,
            "socket_connect_timeout": self.timeout_s,
            # redis-py does not wait for a connection, it fails: users wait before they call (Turns). The spare ones are for
            # probes, and for what a command to a cluster leaves behind at the other nodes when one has failed.
            "max_connections": 2 * self.max_connections + max(self.max_connections, LEAST_SPARE),
        }


@asynccontextmanager
async def open_store(url: str, options: StoreOptions) -> AsyncIterator[OnlineStore]:
    """Open memory://, redis://, rediss://, unix://, redis[s]+cluster:// or redis[s]+sentinel://HOST,HOST/PRIMARY.

    A server that runs in cluster mode is recognized by itself. Raises StoreUnavailable when the store does not answer
    in time, InvalidArgument when the URL cannot be used or the store cannot give the durability.
    """
    scheme = urlsplit(url).scheme
    async with AsyncExitStack() as stack:
        if scheme == "memory":
            _refuse(options.durability is not Durability.APPLIED, "A store in memory cannot be durable", "durability")
            yield MemoryStore()
        elif scheme in {"redis+cluster", "rediss+cluster"}:
            yield await _open_cluster(stack, url.replace("+cluster", "", 1), options)
        elif scheme in {"redis+sentinel", "rediss+sentinel"}:
            yield await _open_server(_sentinel(stack, url, options), options, "sentinel")
        else:
            client = _standalone(stack, url, options)
            info = await _until_answered(partial(server_info, client.execute_command), options)
            if info.get("cluster_enabled") == 1:
                yield await _open_cluster(stack, url, options)
            else:
                yield await _open_server(client, options, "standalone")


async def _open_server(client: Redis, options: StoreOptions, kind: str) -> RedisStore:
    info = await _until_answered(partial(server_info, client.execute_command), options)
    async with answering(options.timeout_s):
        await check_server(client.execute_command, info, options.durability)
    return RedisStore(client, kind=kind, durability=options.durability, timeout_s=options.timeout_s)


async def _open_cluster(stack: AsyncExitStack, url: str, options: StoreOptions) -> RedisClusterStore:
    client: RedisCluster = RedisCluster.from_url(url, **options.of_client(), retry=_retry())
    stack.push_async_callback(client.aclose)
    await _until_answered(partial(_initialize, client), options)
    for node in client.get_primaries():
        run = partial(client.execute_command, target_nodes=node)
        async with answering(options.timeout_s):
            await check_server(run, await server_info(run), options.durability)
    return RedisClusterStore(client, durability=options.durability, timeout_s=options.timeout_s)


async def _initialize(client: RedisCluster) -> None:
    _ = await client.initialize()


def _standalone(stack: AsyncExitStack, url: str, options: StoreOptions) -> Redis:
    try:
        client = packed_by_hiredis(Redis.from_url(url, **options.of_client(), retry=_retry()))
    except (ValueError, TypeError) as error:
        # What is wrong with it may be a part of its password.
        why = " (what stands in a password is percent-encoded)" if "@" in url else f": {error}"
        raise InvalidArgument(f"The URL of the store cannot be used{why}", field="redis_url") from None
    stack.push_async_callback(client.aclose)
    return client


def _sentinel(stack: AsyncExitStack, url: str, options: StoreOptions) -> Redis:
    """Return a client that asks the sentinels for the primary whenever it connects.

    The query takes db, sentinel_username, sentinel_password, and the ssl_ options of redis-py.
    """
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    primary = unquote(parts.path.strip("/"))
    _refuse(not hosts or not primary, "A Sentinel URL is redis+sentinel://HOST[:PORT],HOST[:PORT]/PRIMARY")
    security: dict[str, Any] = {name: query.pop(name) for name in list(query) if name.startswith("ssl_")}
    if parts.scheme == "rediss+sentinel":
        security["ssl"] = True
    own = {name.removeprefix("sentinel_"): query.pop(name) for name in list(query) if name.startswith("sentinel_")}
    database = int(query.pop("db", "0"))
    _refuse(bool(query), f"A Sentinel URL does not take {', '.join(query)}")
    shared = options.of_client() | security
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        # The next is asked when one does not answer.
        [_address(each) for each in hosts.split(",")],
        sentinel_kwargs={**shared, "socket_timeout": options.timeout_s, **own},
    )
    for each in sentinel.sentinels:
        stack.push_async_callback(each.aclose)
    client: Redis = sentinel.master_for(
        primary,
        **options.of_client(),
        **security,
        db=database,
        username=unquote(username) or None,
        password=unquote(password) or None,
        retry=_retry(),
    )
    stack.push_async_callback(client.aclose)
    return packed_by_hiredis(client)


def _address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    return parts.hostname or "", parts.port or 26_379


async def _until_answered(ask: Callable[[], Awaitable[T]], options: StoreOptions) -> T:
    """Ask until the store answers or the time to start is over. A refused password is final."""
    until = time.monotonic() + options.start_timeout_s
    while True:
        try:
            async with asyncio.timeout(options.timeout_s):
                return await ask()
        except (RedisError, OSError) as error:  # TimeoutError is one
            if _is_refusal(error):
                raise InvalidArgument(f"The store refuses the credentials: {error}", field="redis_url") from error
            if time.monotonic() > until:
                raise StoreUnavailable(f"The feature store does not answer: {error}") from error
            await asyncio.sleep(ASK_AGAIN_S)


def _is_refusal(error: BaseException | None) -> bool:
    """Look behind the error of the connection for that of the server."""
    while error is not None:
        if isinstance(error, AuthenticationError):
            return True
        error = error.__cause__
    return False


def _retry() -> Retry:
    """Try once more at once: a connection may have been lost while nobody used it. More is the caller's to decide."""
    return Retry(NoBackoff(), 1)


def _refuse(condition: bool, message: str, field: str = "redis_url") -> None:
    if condition:
        raise InvalidArgument(message, field=field)
