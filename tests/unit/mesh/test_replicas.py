"""Which replica is called next."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from services.mesh.replicas import Connection, Replica, Replicas, only

TRIES = 200


class Switch:
    """A breaker as a test sets it."""

    def __init__(self) -> None:
        self.closed = True
        self.wait_s = 0.0

    def lets_through(self) -> bool:
        return self.closed

    def retry_after_s(self) -> float:
        return 0.0 if self.closed else self.wait_s


Chosen = Replica[str, Switch]


def several(count: int) -> tuple[Replicas[str, Switch], list[Chosen]]:
    """Return replicas and the list of them."""
    connections = [Connection(f"10.0.0.{number}:1", f"stub {number}") for number in range(count)]
    replicas = Replicas(connections, lambda _: Switch())
    return replicas, list(replicas)


def chosen(replicas: Replicas[str, Switch], *avoiding: Chosen) -> set[Chosen | None]:
    """Return all that many choices in a row come to."""
    return {replicas.choose(avoiding) for _ in range(TRIES)}


def test_idle_replicas_share_calls() -> None:
    """Each of three has its part where none is busier than another."""
    replicas, three = several(3)
    assert set(three) == chosen(replicas)


def test_less_busy_of_two_is_called() -> None:
    """Of two the one with fewer calls under way is called, each time."""
    replicas, (busy, idle) = several(2)
    busy.outstanding = 1
    assert {idle} == chosen(replicas)


def test_busiest_is_never_called() -> None:
    """Of several drawn two at a time the busiest has no calls until it has caught up."""
    replicas, (busy, *others) = several(4)
    busy.outstanding = 3
    assert set(others) == chosen(replicas)


def test_load_is_spread_evenly() -> None:
    """With calls that do not end no replica has many more than another."""
    replicas, five = several(5)
    for _ in range(500):
        replica = replicas.choose()
        assert replica is not None
        replica.outstanding += 1
    assert 500 == sum(replica.outstanding for replica in five)
    assert max(replica.outstanding for replica in five) - min(replica.outstanding for replica in five) < 10


def test_slow_replica_is_spared() -> None:
    """One that takes much longer than another gets no call while the other is idle, and few while it is busy."""
    replicas, (slow, quick) = several(2)
    now = time.monotonic()
    slow.pace.took(60.0, now)
    quick.pace.took(1.0, now)
    assert {quick} == chosen(replicas)
    quick.outstanding = 20
    assert {quick} == chosen(replicas)
    quick.outstanding = 200
    assert {slow} == chosen(replicas)


def test_replicas_are_alike_whose_pace_differs_little() -> None:
    """Calls differ, so that a small difference says nothing of a replica."""
    replicas, (one, other) = several(2)
    now = time.monotonic()
    one.pace.took(1.9, now)
    other.pace.took(1.0, now)
    assert {one, other} == chosen(replicas)


@pytest.mark.parametrize("ago_s", [None, 60.0], ids=["new", "slow a minute ago"])
def test_replica_that_nothing_is_known_of_is_tried(ago_s: float | None) -> None:
    """It is taken to be as quick as the others, and no quicker: if it hangs, few calls hang with it."""
    replicas, (unknown, known) = several(2)
    now = time.monotonic()
    known.pace.took(1.0, now)
    if ago_s is not None:
        unknown.pace.took(100.0, now - ago_s)
    assert {unknown, known} == chosen(replicas)
    unknown.outstanding = 1
    assert {known} == chosen(replicas)


def test_replica_that_fails_is_left_out() -> None:
    """A replica whose breaker is open is not called, however idle it is."""
    replicas, (failing, busy) = several(2)
    failing.breaker.closed = False
    busy.outstanding = 9
    assert {busy} == chosen(replicas)


def test_replica_that_is_not_connected_is_left_out_while_another_is() -> None:
    """Only where none is connected one of those is called, that may just be connecting."""
    replicas, (gone, busy) = several(2)
    gone.connection.reachable = False
    busy.outstanding = 9
    assert {busy} == chosen(replicas)
    busy.connection.reachable = False
    assert {gone} == chosen(replicas)


def test_another_replica_is_chosen_where_there_is_one() -> None:
    """A call that is made again goes elsewhere, or to the same one where no other lets it through."""
    replicas, (tried, other) = several(2)
    assert {other} == chosen(replicas, tried)
    other.breaker.closed = False
    assert {tried} == chosen(replicas, tried)


def test_nobody_is_chosen_while_all_breakers_are_open() -> None:
    """The caller is told when the first of them may be called again."""
    replicas, all_of_them = several(3)
    for wait_s, replica in enumerate(all_of_them, start=1):
        replica.breaker.closed, replica.breaker.wait_s = False, wait_s
    assert {None} == chosen(replicas)
    assert 1 == replicas.retry_after_s()


def test_one_replica_is_always_the_choice() -> None:
    """What is in the same process is one replica, unless its breaker is open."""
    replicas = Replicas(only("stub"), lambda _: Switch())
    (single,) = replicas
    assert Counter({single: TRIES}) == Counter(replicas.choose((single,)) for _ in range(TRIES))
    single.breaker.closed = False
    assert replicas.choose() is None
