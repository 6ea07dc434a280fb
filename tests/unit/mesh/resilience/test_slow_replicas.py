"""What a hop does about a replica that is slow: it spares it, and asks another one too, within a budget."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

import pytest
from prometheus_client import REGISTRY

from services.mesh.deadline import Deadline
from services.mesh.errors import DeadlineExceeded, UpstreamUnavailable
from services.mesh.resilience import NO_EFFORT, Effort, Hop
from tests.support.replicas import ScriptedReplica, connections
from tests.support.virtual_time import run_virtually

USUAL_S, SLOW_S = 0.003, 0.05


def counted(name: str) -> float:
    """Return a counter of the hop."""
    return REGISTRY.get_sample_value(name, {"hop": "slow"}) or 0.0


class Fleet:
    """Replicas behind one hop, and what its calls came to."""

    def __init__(self, count: int = 2, *, hedged: bool = True) -> None:
        self.replicas = [ScriptedReplica(f"10.0.0.{number}:1") for number in range(count)]
        self.hop = Hop("slow", connections(self.replicas), hedged=hedged)
        self.took_s: list[float] = []
        self.efforts: list[Effort] = []

    async def ask(self, count: int, *, seconds: float = 1.0) -> None:
        """Make so many calls, one after the other."""
        for _ in range(count):
            start = time.monotonic()
            _, effort = await self.hop.call(lambda replica, timeout_s: replica.ask(timeout_s), Deadline.after(seconds))
            self.took_s.append(time.monotonic() - start)
            self.efforts.append(effort)

    async def settle(self) -> None:
        """Call until the hop knows how long calls take, then forget those calls; later ones are a little quicker."""
        for replica in self.replicas:
            replica.takes_s = 1.1 * USUAL_S
        await self.ask(2_000)
        for replica in self.replicas:
            replica.takes_s = USUAL_S
        self.took_s.clear()
        self.efforts.clear()
        for replica in self.replicas:
            replica.calls = replica.cancelled = 0


def test_replica_that_has_become_slow_is_hardly_called() -> None:
    """Calls one by one do not keep it busy, and yet most of them go to the other replica."""

    async def story() -> None:
        fleet = Fleet(hedged=False)
        await fleet.settle()
        fleet.replicas[0].takes_s = SLOW_S
        await fleet.ask(2_000)
        assert 0 < fleet.replicas[0].calls < 100
        fleet.replicas[0].takes_s = USUAL_S
        await fleet.ask(5_000)
        assert fleet.replicas[0].calls > 500

    run_virtually(story())


def test_slow_answer_is_got_from_another_replica() -> None:
    """Now and then an answer takes ten times as long; with a second call hardly any caller notices."""

    async def story(*, hedged: bool) -> list[float]:
        chance = random.Random(5)
        fleet = Fleet(hedged=hedged)
        await fleet.settle()
        for _ in range(2_000):
            for replica in fleet.replicas:
                replica.takes_s = SLOW_S if chance.random() < 0.02 else USUAL_S
            await fleet.ask(1)
        return sorted(fleet.took_s)

    alone, hedged = run_virtually(story(hedged=False)), run_virtually(story(hedged=True))
    assert SLOW_S <= alone[-20]
    assert hedged[-20] < SLOW_S / 2


def test_second_calls_are_few() -> None:
    """They are a twentieth of all calls at most, even where half of all calls are slow."""

    async def story() -> None:
        chance = random.Random(5)
        fleet = Fleet()
        await fleet.settle()
        for _ in range(500):
            for replica in fleet.replicas:
                replica.takes_s = SLOW_S if chance.random() < 0.5 else USUAL_S
            await fleet.ask(1)
        hedged = sum(effort.hedged for effort in fleet.efforts)
        assert 0 < hedged <= 500 * 0.05 + 10
        assert 500 + hedged == sum(replica.calls for replica in fleet.replicas)

    run_virtually(story())


def test_caller_and_metrics_are_told_of_a_second_call() -> None:
    """The answer says that it was hedged; counters say how often, and how often to good effect."""

    async def story() -> None:
        fleet = Fleet()
        await fleet.settle()
        hedges, won = counted("predictmesh_hedges_total"), counted("predictmesh_hedges_won_total")
        hanging = fleet.replicas[0]
        hanging.hang()
        while not hanging.calls:
            await fleet.ask(1)
        assert Effort(hedged=True) == fleet.efforts[-1]
        assert {NO_EFFORT} >= set(fleet.efforts[:-1])
        assert (1, 1) == (counted("predictmesh_hedges_total") - hedges, counted("predictmesh_hedges_won_total") - won)
        assert 1 == hanging.cancelled
        assert [0, 0] == [replica.outstanding for replica in fleet.hop.replicas]

    run_virtually(story())


@pytest.mark.parametrize("why", ["one replica", "the other fails", "the other is gone"])
def test_there_is_no_second_call_without_a_second_replica(why: str) -> None:
    """Nobody is asked twice where only one can be asked."""

    async def story() -> None:
        fleet = Fleet(1 if why == "one replica" else 2)
        await fleet.settle()
        if why == "the other fails":
            fleet.replicas[1].fail(UpstreamUnavailable("gone"))
            await fleet.ask(200)
            assert 1 == fleet.hop.breakers_open
        if why == "the other is gone":
            fleet.replicas[1].connection.reachable = False
        fleet.efforts.clear()
        fleet.replicas[0].takes_s = SLOW_S
        await fleet.ask(20)
        assert not any(effort.hedged for effort in fleet.efforts)
        await fleet.hop.stop()

    run_virtually(story())


def test_replica_that_only_ever_loses_is_known_for_it() -> None:
    """One that hangs is found out also where another one always answers for it in time."""

    async def story() -> None:
        fleet = Fleet()
        await fleet.settle()
        fleet.replicas[0].hang()
        async with asyncio.timeout(600):
            while not fleet.hop.breakers_open:
                with suppress(DeadlineExceeded):  # where no second call was left
                    await fleet.ask(1)
        assert max(fleet.took_s) < SLOW_S
        await fleet.hop.stop()

    run_virtually(story())
