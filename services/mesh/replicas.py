"""The replicas of a service, and which of them is called next: of two drawn at random, the one that is sooner done."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from services.mesh.pace import Pace

S = TypeVar("S")
# By less than this their pace does not tell replicas apart: calls differ too.
SLOWER = 2.0
Probe: TypeAlias = Callable[[float], Awaitable[bool]]
"""Waits for so many seconds for a replica that is well to say so; returns whether it did."""


class Connection(Generic[S]):
    """A replica as all hops of this process see it: its stub, and whether the connection to it stands.

    `silent_since` is when the first call was sent that nothing has been heard after, in seconds of `time.monotonic()`; 0.0
    when nothing is awaited.

    Where a target is a name, the channel finds the replicas behind it by itself, and they are one connection here. What
    is in this process has no `probe`: it cannot be out of reach.
    """

    __slots__ = ("address", "probe", "reachable", "silent_since", "stub")

    def __init__(self, address: str, stub: S, probe: Probe | None = None) -> None:
        self.address = address
        self.stub = stub
        self.probe = probe
        # What has not been tried is not avoided.
        self.reachable = True
        self.silent_since = 0.0


class Breaker(Protocol):
    """What choosing asks of a circuit breaker."""

    def lets_through(self) -> bool:
        """Say whether a call would be admitted now; changes nothing."""

    def retry_after_s(self) -> float:
        """Return the seconds until it may let a call through; 0 when it does."""


B = TypeVar("B", bound=Breaker)


class Replica(Generic[S, B]):
    """A replica as one hop sees it: `outstanding`, which the hop counts, are its calls under way there, `pace` their time."""

    __slots__ = ("breaker", "connection", "outstanding", "pace")

    def __init__(self, connection: Connection[S], breaker: B) -> None:
        self.connection = connection
        self.breaker = breaker
        self.outstanding = 0
        self.pace = Pace()

    @property
    def stub(self) -> S:
        """What calls it, over the connection that it has at present."""
        return self.connection.stub

    @property
    def address(self) -> str:
        """Where it is; not for callers, who are told of the hop only."""
        return self.connection.address


class Replicas(Generic[S, B]):
    """The replicas that one hop chooses from, each with a breaker of its own, which `breaker` makes."""

    def __init__(self, connections: Sequence[Connection[S]], breaker: Callable[[Connection[S]], B]) -> None:
        self._all = [Replica(connection, breaker(connection)) for connection in connections]
        self._only = self._all[0] if len(self._all) == 1 else None

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._all)

    def __iter__(self) -> Iterator[Replica[S, B]]:
        """Go through all, in the order in which they are listed."""
        return iter(self._all)

    def choose(self, avoiding: Collection[Replica[S, B]] = ()) -> Replica[S, B] | None:
        """Return the replica to call, or None while no breaker lets calls through.

        One of `avoiding`, or one that is not connected, is returned only where there is no other.
        """
        if (only := self._only) is not None:
            return only if only.breaker.lets_through() else None
        admitting = [replica for replica in self._all if replica.breaker.lets_through()]
        connected = [replica for replica in admitting if replica.connection.reachable] or admitting
        candidates = [replica for replica in connected if replica not in avoiding] or connected
        return _sooner(candidates) if candidates else None

    def retry_after_s(self) -> float:
        """Return the seconds until some replica may be called; 0 when one can be."""
        return min(replica.breaker.retry_after_s() for replica in self._all)


def only(stub: S) -> tuple[Connection[S]]:
    """Return the connections of a service that has one replica, as in the same process."""
    return (Connection("", stub),)


def _sooner(replicas: Sequence[Replica[S, B]]) -> Replica[S, B]:
    """Return the better of two drawn at random, which spreads calls as well as the best of all would, without a herd.

    It is the one with fewer calls under way, unless the other's pace makes up for that: one that is slow is spared also
    where calls come one by one.
    """
    count = len(replicas)
    if count == 1:
        return replicas[0]
    first = int(random.random() * count)  # noqa: S311 - spreads load
    second = int(random.random() * (count - 1))  # noqa: S311
    second += second >= first
    one, other = replicas[first], replicas[second]
    now = time.monotonic()
    # What is not known any more is not taken for quicker than what is.
    least_s = min(one.pace.known_s or other.pace.known_s, other.pace.known_s or one.pace.known_s)
    one_s, other_s = _until_done_s(one, least_s, now), _until_done_s(other, least_s, now)
    if one_s > SLOWER * other_s:
        return other
    if other_s > SLOWER * one_s:
        return one
    return other if other.outstanding < one.outstanding else one


def _until_done_s(replica: Replica[S, B], least_s: float, now: float) -> float:
    return (replica.outstanding + 1) * max(least_s, replica.pace.seconds(now))
