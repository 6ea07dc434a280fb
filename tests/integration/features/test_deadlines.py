"""Reads of a store that hangs: they are given up while their caller can still be answered, and with him when he leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from services.features.stores import OnlineStore
from services.features.stores.opening import StoreOptions, open_store
from services.mesh import context as calls
from services.mesh.deadline import Deadline
from services.mesh.errors import StoreUnavailable
from tests.support.valkey import Valkey, free_port, valkey, valkey_cluster
from tests.support.waiting import eventually

# Far beyond any deadline here.
OPTIONS = StoreOptions(timeout_s=30.0)
TIME_S = 0.5


@pytest.fixture(scope="module", params=["standalone", "cluster"])
def servers(request: pytest.FixtureRequest) -> Iterator[list[Valkey]]:
    """The servers of a store."""
    if request.param == "standalone":
        with valkey(port=free_port()) as server:
            yield [server]
    else:
        with valkey_cluster() as nodes:
            yield nodes


@pytest.fixture
async def store(servers: list[Valkey]) -> AsyncIterator[OnlineStore]:
    """The store, with connections open."""
    async with open_store(servers[0].url, OPTIONS) as opened:
        await opened.get_many(KEYS)
        yield opened


KEYS = [f"pm:{{demo/rider:{number}}}:rider".encode() for number in range(20)]


@contextmanager
def hung(servers: list[Valkey]) -> Iterator[None]:
    """Stop the servers for the time of the context."""
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server.hanging())
        yield


def connections(servers: list[Valkey]) -> int:
    """How many connections this process has to the servers."""
    ports = {server.port for server in servers}
    opened = psutil.Process().net_connections("tcp")
    return sum(1 for each in opened if getattr(each.raddr, "port", None) in ports and each.status == "ESTABLISHED")


async def read(store: OnlineStore, deadline: Deadline | None) -> list[bytes | None]:
    """Read as a call with this deadline does."""
    calls.use(calls.CallContext("id", calls.new_trace_id(), "", sampled=False, deadline=deadline))
    return await store.get_many(KEYS)


async def test_a_read_is_given_up_while_its_caller_can_be_answered(servers: list[Valkey], store: OnlineStore) -> None:
    """A part of the call's time is left when the store is found not to answer, however long it may take otherwise."""
    with hung(servers):
        deadline = Deadline.after(TIME_S)
        with pytest.raises(StoreUnavailable):
            await read(store, deadline)
        assert 0 < deadline.remaining() < TIME_S / 2
    assert [None] * len(KEYS) == await read(store, Deadline.after(30))


async def test_a_caller_who_leaves_takes_his_command_along(servers: list[Valkey], store: OnlineStore) -> None:
    """The connections that the store has not answered on are closed, so that nothing is read for nobody."""
    with hung(servers):
        before = connections(servers)
        reading = asyncio.create_task(read(store, Deadline.after(30)))
        await turns(100)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        await eventually(lambda: connections(servers) < before)
    assert [None] * len(KEYS) == await read(store, None)


async def test_a_caller_may_leave_at_any_moment(servers: list[Valkey], store: OnlineStore) -> None:
    """Also just when his command has been written: nobody is kept until the time is over."""
    with hung(servers):
        for count in range(12):
            reading = asyncio.create_task(read(store, Deadline.after(30)))
            await turns(count)
            reading.cancel()
            await asyncio.wait([reading], timeout=5)
            assert reading.cancelled(), f"not ended after {count} turns of the loop"
    assert [None] * len(KEYS) == await read(store, None)


async def turns(count: int) -> None:
    """Let the event loop turn so often."""
    for _ in range(count):
        await asyncio.sleep(0)
