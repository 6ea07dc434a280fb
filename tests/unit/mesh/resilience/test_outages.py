"""A replica that fails or hangs is not asked until it is back; what is found out of it costs nobody's request."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import REGISTRY

from services.mesh.deadline import Deadline
from services.mesh.errors import (
    Code,
    DeadlineExceeded,
    Internal,
    MeshError,
    NotReady,
    Overloaded,
    Reason,
    RemoteError,
)
from services.mesh.replicas import Connection, only
from services.mesh.resilience import CircuitOpen, Hop
from services.mesh.resilience.recovery import PAUSE_S, PROBE_S
from tests.support.replicas import ScriptedReplica, connections, gone
from tests.support.virtual_time import run_virtually, virtually
from tests.support.waiting import eventually, eventually_answers


async def ask(hop: Hop[ScriptedReplica], seconds: float = 1.0) -> str:
    """Make a call; return the answer, or the reason of the failure."""
    try:
        answer, _ = await hop.call(lambda replica, timeout_s: within(timeout_s, replica), Deadline.after(seconds))
    except MeshError as error:
        return error.reason
    return answer


async def within(timeout_s: float, replica: ScriptedReplica) -> str:
    """Call a replica as its stub would, which gives up when the time is over."""
    try:
        async with asyncio.timeout(timeout_s):
            return await replica.ask(timeout_s)
    except TimeoutError:
        raise DeadlineExceeded("not answered in time") from None


def test_an_outage_from_beginning_to_end() -> None:
    """Calls are refused without being made, with the time to come back; and soon after its end all are answered."""

    async def story() -> None:
        replica = ScriptedReplica()
        hop = Hop("h", connections([replica]))
        replica.fail(gone())
        reasons = [await ask(hop) for _ in range(100)]
        assert Reason.UPSTREAM_UNAVAILABLE == reasons[0]
        assert Reason.CIRCUIT_OPEN == reasons[-1]
        assert replica.calls <= 10
        with pytest.raises(CircuitOpen) as refused:
            await hop.call(lambda replica, timeout_s: replica.ask(timeout_s), Deadline.after(1))
        assert (Code.UNAVAILABLE, Reason.CIRCUIT_OPEN) == (refused.value.code, refused.value.reason)
        assert 0 < (refused.value.retry_after_s or 0) <= PAUSE_S[1]
        assert 1 == hop.breakers_open

        await asyncio.sleep(60)
        calls = replica.calls
        replica.recover()
        back = time.monotonic()
        while hop.breakers_open:
            assert Reason.CIRCUIT_OPEN == await ask(hop)
            await asyncio.sleep(0.01)
        assert time.monotonic() - back <= PAUSE_S[1] + 0.02
        assert calls == replica.calls
        assert [replica.address] * 10 == [await ask(hop) for _ in range(10)]
        assert {replica.address: "closed"} == hop.states()

    run_virtually(story())


def test_probes_are_few() -> None:
    """One at a time, and after a minute of outage about one for each time that it takes and is paused after."""

    async def story() -> None:
        replica = ScriptedReplica()
        hop = Hop("h", connections([replica]))
        replica.fail(gone())
        for _ in range(10):
            await ask(hop)
        await asyncio.sleep(60)
        assert 60 / (PROBE_S + PAUSE_S[1]) - 1 <= replica.probes <= 60 / (PROBE_S + PAUSE_S[1] / 2) + 5
        await hop.stop()
        probes = replica.probes
        await asyncio.sleep(60)
        assert probes == replica.probes

    run_virtually(story())


@pytest.mark.parametrize(("seconds", "calls"), [(0.12, 5), (1.5, 2)])
def test_a_replica_that_hangs(seconds: float, calls: int) -> None:
    """Calls that had ample time and heard nothing open its breaker, the sooner the longer they take; it goes on, and so do they."""

    async def story() -> None:
        replica = ScriptedReplica()
        replica.takes_s = 0.002
        hop = Hop("h", connections([replica]))
        for _ in range(5000):
            await ask(hop)
        replica.hang()
        reasons = [await ask(hop, seconds) for _ in range(10)]
        assert [Reason.DEADLINE_EXCEEDED] * calls + [Reason.CIRCUIT_OPEN] * (10 - calls) == reasons
        await asyncio.sleep(10)
        replica.recover()
        back = time.monotonic()

        async def answered() -> bool:
            return await ask(hop) == replica.address

        await eventually_answers(answered)
        assert time.monotonic() - back < PAUSE_S[1] + 0.1

    run_virtually(story())


def test_a_replica_that_hangs_for_callers_in_a_hurry() -> None:
    """None of them waits for long, but together they do; those who leave at the deadline count like those who time out."""

    async def story() -> None:
        replica = ScriptedReplica()
        hop = Hop("h", connections([replica]))
        for _ in range(2000):
            await ask(hop)
        replica.hang()
        for _ in range(20):
            deadline = Deadline.after(0.05)
            call = asyncio.ensure_future(hop.call(lambda replica, timeout_s: replica.ask(timeout_s), deadline))
            await asyncio.wait([call], timeout=0.05)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert {replica.address: "closed"} != hop.states()
        await hop.stop()

    run_virtually(story())


def test_one_slow_call_among_many() -> None:
    """A call that times out while others are answered says nothing of the replica."""

    async def story() -> None:
        replica = ScriptedReplica()
        hop = Hop("h", connections([replica]))

        async def hanging(replica: ScriptedReplica, timeout_s: float) -> str:
            await asyncio.sleep(timeout_s)
            raise DeadlineExceeded("not answered in time")

        async def slow() -> None:
            with pytest.raises(DeadlineExceeded):
                await hop.call(hanging, Deadline.after(1.0))

        for _ in range(10):
            waiting = asyncio.gather(*(slow() for _ in range(5)))
            await asyncio.sleep(0.9)
            assert replica.address == await ask(hop)
            await waiting
        assert {replica.address: "closed"} == hop.states()

    run_virtually(story())


@pytest.mark.parametrize(
    "error",
    [
        RemoteError(Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED, "x"),
        RemoteError(Code.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE, "x"),
        RemoteError(Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, "x"),
        RemoteError(Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED, "x"),
        RemoteError(Code.NOT_FOUND, Reason.UNKNOWN_VIEW, "x"),
        Overloaded("x"),
        NotReady("x"),
        Internal("x"),
    ],
)
def test_what_a_replica_says_is_no_reason_not_to_ask_it(error: MeshError) -> None:
    """An error of a version, of a store, of the caller: who can say so is there."""

    async def story() -> None:
        replica = ScriptedReplica()
        replica.error = error
        hop = Hop("h", connections([replica]))
        assert {error.reason} == {await ask(hop) for _ in range(20)}
        assert {replica.address: "closed"} == hop.states()

    run_virtually(story())


@virtually
async def test_callers_who_leave_say_nothing() -> None:
    """However many of them do, before anything is answered."""
    replica = ScriptedReplica()
    replica.hang()
    hop = Hop("h", connections([replica]))
    for _ in range(20):
        call = asyncio.ensure_future(ask(hop, 60))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert 20 == replica.cancelled
    assert {replica.address: "closed"} == hop.states()
    assert [0] == [each.outstanding for each in hop.replicas]


@virtually
async def test_what_is_in_this_process_is_always_asked() -> None:
    """It cannot be out of reach, whatever it says of those behind it."""
    replica = ScriptedReplica()
    replica.error = gone()
    hop = Hop("h", only(replica))
    for _ in range(20):
        assert Reason.UPSTREAM_UNAVAILABLE == await ask(hop)
    assert {"": "closed"} == hop.states()


@pytest.mark.parametrize(("address", "state"), [("dns:///features:50052", "closed"), ("10.0.0.1:50052", "open")])
@virtually
async def test_replicas_behind_a_name(address: str, state: str) -> None:
    """They share a breaker, which stays closed while every other call is answered: some of them are well."""
    replica = ScriptedReplica()
    hop = Hop("h", [Connection(address, replica, replica.connection.probe)])
    (found,) = hop.replicas
    for _ in range(50):
        found.breaker.answered()
        found.breaker.ended(gone(), ample_s=1.0)
    assert {address: state} == hop.states()
    await hop.stop()


@virtually
async def test_one_of_two_replicas_fails() -> None:
    """It opens its own breaker only, all are answered by the other, and answers and metrics tell of it."""
    bad, good = ScriptedReplica("10.0.0.1:1"), ScriptedReplica("10.0.0.2:1")
    hop = Hop("one_of_two", connections([bad, good]))
    opened = metric("predictmesh_breaker_opened_total", bad)
    bad.fail(gone())
    assert {good.address} == {await ask(hop) for _ in range(100)}
    assert 5 == bad.calls
    assert {bad.address: "open", good.address: "closed"} == hop.states()
    _, effort = await hop.call(lambda replica, timeout_s: replica.ask(timeout_s), Deadline.after(1))
    assert (0, False, 1) == effort
    assert (1, 0) == (metric("predictmesh_breaker_open", bad), metric("predictmesh_breaker_open", good))
    assert 1 == metric("predictmesh_breaker_opened_total", bad) - opened
    bad.recover()
    await eventually(lambda: hop.breakers_open == 0)
    assert 0 == metric("predictmesh_breaker_open", bad)


def metric(name: str, replica: ScriptedReplica) -> float:
    """Return a metric of the replica in hop `one_of_two`."""
    return REGISTRY.get_sample_value(name, {"hop": "one_of_two", "replica": replica.address}) or 0


@virtually
async def test_what_fails_for_one_hop() -> None:
    """Another one of the same service goes on: its calls are of another kind."""
    replica = ScriptedReplica()
    hop, other = Hop("h", connections([replica])), Hop("other", connections([replica]))
    replica.fail(gone())
    for _ in range(10):
        await ask(hop)
    replica.error = None
    # It is open, or a probe is just under way.
    assert {replica.address: "closed"} != hop.states()
    assert {replica.address: "closed"} == other.states()
    await hop.stop()
