"""A rolling restart: one process after the other, each ready and found by its callers before the next one stops."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from services.cli.errors import Failure
from services.cli.restarting.connections import established
from services.cli.restarting.members import Fleet, Member

_POLL_S = 0.05


@dataclass(frozen=True)
class Limits:
    """Seconds that a process may take to end, and as many to be ready again; then those for its callers to come back.

    `first_s` are those that all have to say that they are ready before anything is stopped.
    """

    ready_s: float = 60.0
    first_s: float = 5.0
    callers_s: float = 15.0


@dataclass(frozen=True)
class Restarted:
    """How it went: seconds until it was ready again, and the connections that it had before and has now.

    They are None where the kernel does not tell.
    """

    member: Member
    seconds: float
    before: int | None
    now: int | None


class Rolling:
    """Restarts processes of a fleet; `up` starts what has ended."""

    def __init__(self, fleet: Fleet, limits: Limits) -> None:
        self._fleet, self._limits = fleet, limits

    def run(self, members: Sequence[Member]) -> Iterator[Restarted]:
        """Restart each, and yield how it went.

        Failure if one of them is not ready at first, does not end, or does not get ready again: what follows is left alone.
        """
        if not self._wait(lambda: all(not member.why_not_ready() for member in members), self._limits.first_s):
            unready = "; ".join(f"{member.name}: {why}" for member in members if (why := member.why_not_ready()))
            raise Failure(f"nothing is restarted, as not all are ready: {unready}")
        for member in members:
            # One that has died since would leave nobody to answer.
            for other in members:
                if other.service == member.service:
                    self._until_ready(other)
            yield self._restart(member)

    def _restart(self, member: Member) -> Restarted:
        pid = self._pid(member)
        before, began = established(member.grpc), time.monotonic()
        os.kill(pid, signal.SIGTERM)
        if not self._wait(lambda: not _runs(pid), self._limits.ready_s):
            raise Failure(
                f"{member.name} (pid {pid}) has not ended after {self._limits.ready_s:g} s; "
                f"`kill -9 {pid}` ends it, and `up` starts it again"
            )
        self._until_ready(member)
        seconds = time.monotonic() - began
        return Restarted(member, seconds, before, self._come_back(member, before))

    def _pid(self, member: Member) -> int:
        # On a busy machine an answer may be late.
        pid: int | None = None

        def told() -> bool:
            nonlocal pid
            pid = member.pid()
            return self._fleet.owns(member, pid)

        if not self._wait(told, self._limits.first_s) or pid is None:
            raise Failure(f"what answers at {member.http} is not the {member.name} of this `up`")
        return pid

    def _come_back(self, member: Member, before: int | None) -> int | None:
        """Wait for as many connections as `before`, and return how many there are."""
        if before is None:
            return None
        seen = 0

        def all_back() -> bool:
            nonlocal seen
            seen = established(member.grpc) or 0
            return seen >= before

        self._wait(all_back, self._limits.callers_s)
        return seen

    def _until_ready(self, member: Member) -> None:
        if not self._wait(lambda: not member.why_not_ready(), self._limits.ready_s):
            why = member.why_not_ready()
            raise Failure(
                f"{member.name} is not ready after {self._limits.ready_s:g} s: {why}; the others are left alone"
            )

    def _wait(self, met: Callable[[], bool], limit_s: float) -> bool:
        """Return whether the condition was met in time."""
        end = time.monotonic() + limit_s
        while not met():
            self._fleet.check()
            if time.monotonic() > end:
                return False
            time.sleep(_POLL_S)
        return True


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
