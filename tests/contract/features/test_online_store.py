"""What every store of feature rows must do; every adapter runs all of it."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.features.stores import Durability, OnlineStore
from services.features.stores.opening import StoreOptions, open_store
from services.mesh.errors import InvalidArgument, StoreUnavailable
from tests.parts import program
from tests.support.valkey import Valkey, directory, free_port, sentinel, valkey, valkey_cluster
from tests.support.waiting import eventually

PASSWORD = "s3cret/@:"
OPTIONS = StoreOptions(timeout_s=5)


def row(time_us: int, values: bytes = b"") -> bytes:
    """Return a packed row of one schema."""
    return struct.pack("<BIq", 1, 7, time_us) + b"\0" + values


def key(number: int, view: str = "v") -> bytes:
    """Return a store key; those of one number share a slot."""
    return f"pm:{{e:{number}}}:{view}".encode()


@contextlib.contextmanager
def standalone() -> Iterator[str]:
    """Run one Valkey."""
    with valkey() as server:
        yield server.url


@contextlib.contextmanager
def sentinel_of_primary() -> Iterator[str]:
    """Run a Valkey and a Sentinel that watches it."""
    with valkey(port=free_port()) as primary, sentinel(primary, "features") as watcher:
        yield f"redis+sentinel://127.0.0.1:{watcher.port}/features"


@contextlib.contextmanager
def tls_with_password() -> Iterator[str]:
    """Debian's redis-server: the embedded one has no TLS."""
    binary = program("redis-server")
    with directory() as path:
        certificate(path)
        files = [("cert-file", "server.crt"), ("key-file", "server.key"), ("ca-cert-file", "server.crt")]
        tls = [word for name, file in files for word in (f"--tls-{name}", str(path / file))]
        port = free_port()
        user = f"user mesh on >{PASSWORD} ~pm:* +@all"
        (path / "redis.conf").write_text(
            f"{user}\nuser default off\nport 0\ntls-port {port}\ntls-auth-clients no\nsave ''\n"
        )
        process = subprocess.Popen(
            [binary, str(path / "redis.conf"), *tls, "--dir", str(path)], stdout=subprocess.DEVNULL
        )
        try:
            yield f"rediss://mesh:s3cret%2F%40%3A@127.0.0.1:{port}?ssl_ca_certs={path / 'server.crt'}"
        finally:
            process.terminate()
            process.wait(20)


def certificate(path: Path) -> None:
    """Make a key and a certificate that is its own authority."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(path / "server.key"), "-out", str(path / "server.crt"), "-days", "1"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )


WORLDS: dict[str, Callable[[], contextlib.AbstractContextManager[str]]] = {
    "memory": lambda: contextlib.nullcontext("memory://"),
    "standalone": standalone,
    "sentinel": sentinel_of_primary,
    "tls": tls_with_password,
}


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Valkey]]:
    """A cluster of three primaries, which takes two seconds to become one."""
    with valkey_cluster() as opened:
        yield opened


@pytest.fixture
def durable_nodes() -> Iterator[list[Valkey]]:
    """A cluster of the test's own, whose nodes have append-only files."""
    with valkey_cluster(3, "--appendonly", "yes", "--appendfsync", "always") as opened:
        yield opened


@pytest.fixture(scope="module", params=[*WORLDS, "cluster"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run each kind of store once for all its tests."""
    if request.param == "cluster":
        yield f"redis+cluster://127.0.0.1:{request.getfixturevalue('nodes')[0].port}"
    else:
        with WORLDS[request.param]() as address:
            yield address


@pytest.fixture
async def store(url: str) -> AsyncIterator[OnlineStore]:
    """Open the store, and leave nothing in it."""
    async with open_store(url, OPTIONS) as opened:
        yield opened
        await opened.delete_many([key(number, view) for number in range(1500) for view in ("v", "w")])


async def test_rows_come_back_by_key_in_order(store: OnlineStore) -> None:
    """What was written is read, and a key without a row reads as None in its place."""
    written = await store.put_many([key(1), key(2)], [row(1, b"a"), row(2, b"b")], 0)

    assert [True, True] == written.tolist()
    assert [row(2, b"b"), None, row(1, b"a"), row(2, b"b")] == await store.get_many([key(2), key(9), key(1), key(2)])


async def test_a_later_event_stays(store: OnlineStore) -> None:
    """An earlier event that arrives later changes nothing and is reported."""
    await store.put_many([key(1)], [row(20, b"late")], 0)

    assert [False, True] == (await store.put_many([key(1), key(2)], [row(19, b"early"), row(1)], 0)).tolist()
    assert [row(20, b"late")] == await store.get_many([key(1)])


async def test_of_equal_events_the_last_to_arrive_stays(store: OnlineStore) -> None:
    """A correction of the same moment wins."""
    await store.put_many([key(1)], [row(20, b"first")], 0)

    assert [True] == (await store.put_many([key(1)], [row(20, b"second")], 0)).tolist()
    assert [row(20, b"second")] == await store.get_many([key(1)])


async def test_one_key_many_times_in_a_batch(store: OnlineStore) -> None:
    """Rows of one batch are applied in order, also when they are more than one script takes."""
    times = [5, 3, 5, *([4] * 1000), 6, 6]
    rows = [row(time, str(index).encode()) for index, time in enumerate(times)]
    written = await store.put_many([key(1)] * len(rows), rows, 0)

    assert [True, False, True, *([False] * 1000), True, True] == written.tolist()
    assert [rows[-1]] == await store.get_many([key(1)])


@pytest.mark.parametrize(
    ("stored", "arriving", "wins"),
    [
        (2**53, 2**53 + 1, True),
        (2**53 + 1, 2**53, False),
        (2**62 + 1, 2**62, False),
        (2**32, 2**32 - 1, False),
        (2**31, 2**32, True),
        (-1, 1, True),
        (1, -1, False),
    ],
)
async def test_times_are_compared_exactly(store: OnlineStore, stored: int, arriving: int, wins: bool) -> None:
    """Microseconds count at every size, also where a double would round them."""
    await store.put_many([key(1)], [row(stored)], 0)

    assert [wins] == (await store.put_many([key(1)], [row(arriving)], 0)).tolist()


@pytest.mark.parametrize("foreign", [b"", b"x", b"\2" + row(2**60)[1:]])
async def test_what_is_no_row_is_overwritten(store: OnlineStore, foreign: bytes) -> None:
    """Bytes of no known layout have no event time to defend."""
    await store.put_many([key(1)], [row(1)], 0)
    await store.delete_many([key(1)])
    await store.put_many([key(1)], [foreign.ljust(13, b"\2")], 0)

    assert [True] == (await store.put_many([key(1)], [row(1)], 0)).tolist()


async def test_a_thousand_rows_at_once(store: OnlineStore) -> None:
    """Large batches arrive whole and in their order."""
    keys = [key(number, view) for number in range(1200) for view in ("v", "w")]
    rows = [row(number + 1, bytes([number % 256])) for number in range(2400)]

    assert (await store.put_many(keys, rows, 0)).all()
    assert rows == await store.get_many(keys)


async def test_rows_expire_after_their_time(store: OnlineStore) -> None:
    """A row with a time to live is gone when that has passed, and one without stays."""
    await store.put_many([key(1)], [row(1)], 30)
    await store.put_many([key(2)], [row(1)], 0)
    await gone(store, key(1))

    assert [row(1)] == await store.get_many([key(2)])


async def gone(store: OnlineStore, expiring: bytes) -> None:
    """Wait until a key has no row."""
    async with asyncio.timeout(10):
        while (await store.get_many([expiring]))[0] is not None:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)


async def test_a_write_without_time_to_live_ends_an_earlier_one(store: OnlineStore) -> None:
    """The last write decides how long a row lives."""
    await store.put_many([key(1)], [row(1)], 50)
    await store.put_many([key(1), key(2)], [row(1), row(1)], 0)
    await store.put_many([key(2)], [row(1)], 50)
    await gone(store, key(2))

    assert [row(1)] == await store.get_many([key(1)])


async def test_deleting_counts_what_was_there(store: OnlineStore) -> None:
    """Deleting says how many rows there were."""
    await store.put_many([key(1), key(1, "w"), key(2)], [row(1)] * 3, 0)

    assert 2 == await store.delete_many([key(1), key(1, "w"), key(3)])
    assert [None, None, row(1)] == await store.get_many([key(1), key(1, "w"), key(2)])


async def test_a_living_store_answers_pings(store: OnlineStore) -> None:
    """Ping is silent while all is well."""
    await store.ping()


async def test_a_wrong_password_is_refused_at_once() -> None:
    """Credentials that the store refuses are a fault of the settings, not of the network."""
    with valkey("--requirepass", PASSWORD) as server:
        with pytest.raises(InvalidArgument, match="credentials"):
            async with open_store(server.url + "?password=wrong", OPTIONS):
                pass
        async with open_store(server.url + "?password=s3cret%2F%40%3A", OPTIONS) as opened:
            await opened.ping()


async def test_a_cluster_is_recognized(nodes: list[Valkey]) -> None:
    """A plain URL of a cluster's node opens the whole cluster."""
    async with open_store(nodes[1].url, OPTIONS) as opened:
        assert "cluster" == opened.kind
        keys = [key(number) for number in range(100)]
        assert (await opened.put_many(keys, [row(1)] * 100, 0)).all()
        assert [row(1)] * 100 == await opened.get_many(keys)


@pytest.mark.parametrize("durability", [Durability.APPLIED, Durability.AOF_ALWAYS])
async def test_a_slot_that_moves_is_followed(durable_nodes: list[Valkey], durability: Durability) -> None:
    """After a slot has moved to another primary, reads and writes find it; a durable write may have to be repeated."""
    options = StoreOptions(durability=durability, timeout_s=5)
    async with open_store(durable_nodes[0].url, options) as opened:
        keys = [key(number) for number in range(50)]
        await opened.put_many(keys, [row(1)] * 50, 0)
        for number in (0, 1, 2):
            move_slot(durable_nodes, key(number))

        assert [row(1)] * 50 == await opened.get_many(keys)
        for number in (0, 1, 2):
            move_slot(durable_nodes, key(number))
        with contextlib.suppress(StoreUnavailable):
            await opened.put_many(keys, [row(2)] * 50, 0)
        assert (await opened.put_many(keys, [row(2)] * 50, 0)).all()
        assert [row(2)] * 50 == await opened.get_many(keys)


def move_slot(nodes: list[Valkey], of_key: bytes) -> None:
    """Move the slot of a key, with its rows, to the next primary."""
    with nodes[0].client() as client:
        slot = client.execute_command("CLUSTER KEYSLOT", of_key)
    clients: list[Any] = [node.client() for node in nodes]
    identities = [client.execute_command("CLUSTER MYID").decode() for client in clients]
    owner = next(index for index, client in enumerate(clients) if owns(client, slot, identities[index]))
    target = (owner + 1) % len(nodes)
    clients[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", identities[owner])
    clients[owner].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", identities[target])
    while found := clients[owner].execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
        clients[owner].execute_command("MIGRATE", "127.0.0.1", nodes[target].port, "", 0, 5000, "KEYS", *found)
    for client in (clients[target], clients[owner], *clients):
        client.execute_command("CLUSTER SETSLOT", slot, "NODE", identities[target])
    for client in clients:
        client.close()


def owns(client: Any, slot: int, identity: str) -> bool:
    """Say whether the node of that identity has the slot."""
    for first, last, primary, *_ in client.execute_command("CLUSTER SLOTS"):
        if first <= slot <= last:
            return bool(primary[2].decode() == identity)
    return False


async def test_the_store_comes_back() -> None:
    """While the store is down calls fail with STORE_UNAVAILABLE; when it is back they succeed, and the rows are there."""
    with valkey("--appendonly", "yes", "--appendfsync", "always") as server:
        async with open_store(server.url, OPTIONS) as opened:
            await opened.put_many([key(1)], [row(1)], 0)
            server.kill()
            for call in (opened.get_many([key(1)]), opened.put_many([key(1)], [row(2)], 0), opened.ping()):
                with pytest.raises(StoreUnavailable):
                    await call
            server.start()

            assert [row(1)] == await opened.get_many([key(1)])
            assert [True] == (await opened.put_many([key(1)], [row(2)], 0)).tolist()


async def test_a_silent_store_is_given_up() -> None:
    """A store that hangs costs no more than the time allowed."""
    with valkey() as server:
        async with open_store(server.url, StoreOptions(timeout_s=0.2)) as opened:
            with server.client() as client:
                client.execute_command("CLIENT PAUSE", 1000, "ALL")
            with pytest.raises(StoreUnavailable):
                await opened.get_many([key(1)])


async def test_aof_always_confirms_writes() -> None:
    """A store with an append-only file confirms writes that have reached it."""
    with valkey("--appendonly", "yes", "--appendfsync", "always") as server:
        async with open_store(server.url, StoreOptions(durability=Durability.AOF_ALWAYS)) as opened:
            assert [True] == (await opened.put_many([key(1)], [row(1)], 0)).tolist()
            assert 1 == await opened.delete_many([key(1)])


async def test_replicated_confirms_writes_and_fails_without_the_replica() -> None:
    """A write that no replica has taken in time is not acknowledged."""
    port = free_port()
    at_once = ("--repl-diskless-sync-delay", "0")
    with valkey(*at_once, port=port) as primary, valkey("--replicaof", f"127.0.0.1 {port}") as replica:
        await replicating(primary)
        async with opened_replicated(primary, 5) as patient, opened_replicated(primary, 1) as opened:
            assert [True] == (await patient.put_many([key(1)], [row(1)], 0)).tolist()
            replica.kill()
            with pytest.raises(StoreUnavailable, match="durable"):
                await opened.put_many([key(1)], [row(2)], 0)


def opened_replicated(primary: Valkey, timeout_s: float) -> contextlib.AbstractAsyncContextManager[OnlineStore]:
    """Open a store whose replica is waited for so long."""
    return open_store(primary.url, StoreOptions(durability=Durability.REPLICATED, timeout_s=timeout_s))


async def replicating(primary: Valkey) -> None:
    """Wait until the primary has a replica."""
    with primary.client() as client:
        await eventually(lambda: "online" in str(client.info("replication").get("slave0", "")), within_s=20)


@pytest.mark.parametrize("durability", [Durability.AOF_ALWAYS, Durability.REPLICATED])
@pytest.mark.parametrize("url", ["memory", "standalone", "cluster"], indirect=True)
async def test_a_durability_that_cannot_be_is_refused(url: str, durability: Durability) -> None:
    """A setting that cannot act is an error when the service starts."""
    with pytest.raises(InvalidArgument, match=r"cannot be") as raised:
        async with open_store(url, StoreOptions(durability=durability)):
            pass

    assert "durability" == raised.value.violations[0].field


@pytest.mark.parametrize(("policy", "warned"), [("allkeys-lru", True), ("volatile-lru", False), ("noeviction", False)])
async def test_a_store_that_may_evict_is_warned_of(policy: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Rows that vanish under memory pressure are worth a warning at start."""
    with valkey("--maxmemory-policy", policy) as server:
        async with open_store(server.url, OPTIONS):
            assert warned == ("evict" in caplog.text)


@pytest.mark.parametrize(
    "address",
    ["http://localhost", "redis+sentinel://localhost", "redis+sentinel://h/p?what=1", "nothing", "redis://h:x"],
)
async def test_a_url_that_is_none_is_refused(address: str) -> None:
    """The URL is checked before anything is asked of it."""
    with pytest.raises(InvalidArgument):
        async with open_store(address, OPTIONS):
            pass


async def test_a_store_that_is_not_there_ends_the_start() -> None:
    """A service without its store does not start."""
    with pytest.raises(StoreUnavailable):
        async with open_store(f"redis://127.0.0.1:{free_port()}", StoreOptions(start_timeout_s=0.2)):
            pass
