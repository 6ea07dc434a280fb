"""What fails with UNAVAILABLE is made again: elsewhere, not too often, not too soon and never too late."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.mesh.deadline import Deadline
from services.mesh.errors import (
    Code,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MeshError,
    NotReady,
    Overloaded,
    Reason,
    RemoteError,
    UpstreamUnavailable,
)
from services.mesh.resilience import NO_EFFORT, Effort, Hop
from services.mesh.resilience.retrying import JITTER_S, MOST_ATTEMPTS
from tests.support.replicas import ScriptedReplica, connections, gone
from tests.support.virtual_time import run_virtually


async def ask(hop: Hop[ScriptedReplica], seconds: float = 60, *, first: bool = True) -> tuple[str, Effort]:
    """Make a call."""
    return await hop.call(lambda replica, timeout_s: replica.ask(timeout_s), Deadline.after(seconds), first=first)


async def test_first_answer_is_taken() -> None:
    """Success costs one attempt, with all the time that is left, and nothing is told of it."""
    replica = ScriptedReplica()
    answer, effort = await ask(Hop("h", connections([replica])))
    assert (replica.address, 1) == (answer, replica.calls)
    assert effort is NO_EFFORT
    assert 59 < replica.timeouts[0] <= 60


async def test_unavailable_is_asked_elsewhere() -> None:
    """A replica that has gone is invisible to the caller, but for the effort."""
    bad, good = ScriptedReplica("10.0.0.1:1"), ScriptedReplica("10.0.0.2:1")
    bad.error = gone()
    hop = Hop("h", connections([bad, good]))
    efforts = [await ask(hop) for _ in range(20)]
    assert {good.address} == {answer for answer, _ in efforts}
    assert bad.calls == sum(effort.retries for _, effort in efforts) <= 20
    assert good.calls == 20


async def test_a_single_replica_is_asked_again() -> None:
    """By a name there may be another one behind it."""
    replica = ScriptedReplica()
    replica.errors = [gone()]
    assert (replica.address, Effort(retries=1)) == await ask(Hop("h", connections([replica])))


async def test_attempts_are_few() -> None:
    """The last failure reaches the caller, without the address of who failed."""
    replica = ScriptedReplica()
    replica.error = gone()
    with pytest.raises(UpstreamUnavailable) as caught:
        await ask(Hop("h", connections([replica])))
    assert MOST_ATTEMPTS == replica.calls
    assert replica.address not in caught.value.message


@pytest.mark.parametrize("error", [Internal("x"), Overloaded("x"), InvalidArgument("x"), DeadlineExceeded("x")])
async def test_nothing_else_is_made_again(error: MeshError) -> None:
    """Only UNAVAILABLE says that another attempt may fare better."""
    replica = ScriptedReplica()
    replica.error = error
    with pytest.raises(type(error)):
        await ask(Hop("h", connections([replica])))
    assert 1 == replica.calls


async def test_no_attempt_after_the_deadline() -> None:
    """A hop is not asked when its answer would come too late."""
    replica = ScriptedReplica()
    with pytest.raises(DeadlineExceeded):
        await ask(Hop("h", connections([replica])), -1)
    assert 0 == replica.calls


def test_no_retry_without_time_for_it() -> None:
    """Attempts end with the deadline, and what failed is what the caller hears."""

    async def story() -> None:
        replica = ScriptedReplica()
        replica.error, replica.takes_s = gone(), 1.0
        started = time.monotonic()
        with pytest.raises(UpstreamUnavailable):
            await ask(Hop("h", connections([replica])), 1.0 + 1e-5)
        assert time.monotonic() - started < 1.1
        assert 1 == replica.calls

    run_virtually(story())


@pytest.mark.parametrize(("told_s", "calls"), [(3.0, 2), (30.0, 1)])
def test_retry_info_is_obeyed(told_s: float, calls: int) -> None:
    """No attempt begins before the time that the service told; none is made if that is after the deadline."""

    async def story() -> None:
        replica = ScriptedReplica()
        replica.errors = [NotReady("soon", retry_after_s=told_s)]
        started = time.monotonic()
        try:
            await ask(Hop("h", connections([replica])), 10)
        except NotReady:
            assert time.monotonic() - started < 0.1
        else:
            assert told_s <= time.monotonic() - started <= told_s + JITTER_S + 0.01
        assert calls == replica.calls

    run_virtually(story())


async def test_an_outage_is_not_amplified() -> None:
    """However long a service answers every call with UNAVAILABLE, it gets a tenth more calls than there are."""
    replica = ScriptedReplica()
    hop = Hop("h", connections([replica]))
    for _ in range(500):
        await ask(hop)
    before = replica.calls
    replica.error = RemoteError(Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED, "not here")
    failed = await asyncio.gather(*(ask(hop) for _ in range(2000)), return_exceptions=True)
    assert 2000 == sum(isinstance(each, MeshError) for each in failed)
    assert before == 500
    assert replica.calls <= 1.1 * 2500


async def test_what_a_user_repeats_by_himself_allows_for_no_more() -> None:
    """Such calls may be made again, too, but only within what first calls allow for: here, what there is at the start."""
    replica = ScriptedReplica()
    hop = Hop("h", connections([replica]))
    for _ in range(500):
        await ask(hop, first=False)
    replica.error = RemoteError(Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED, "not here")
    await asyncio.gather(*(ask(hop, first=False) for _ in range(200)), return_exceptions=True)
    assert 500 + 200 + 10 == replica.calls
