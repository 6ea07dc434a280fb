"""Where each version stands on each runtime, and who wants to know."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass


class State(enum.Enum):
    """Where a version stands."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    UNLOADING = "unloading"


class GoldenState(enum.Enum):
    """Whether a runtime gives the recorded outputs of a version's golden set."""

    NOT_RUN = "not run"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """State of one version on one runtime, since a Unix time in seconds; `message` says why it failed.

    `golden_message` says where it does not give the golden outputs.
    """

    model: str
    version: str
    digest: str
    runtime: str
    state: State
    since: float
    message: str = ""
    load_time_us: int = 0
    golden: GoldenState = GoldenState.NOT_RUN
    golden_message: str = ""


class StatusBoard:
    """The newest statuses. Slow readers skip those in between, so nothing piles up for them."""

    def __init__(self) -> None:
        self.current: tuple[RuntimeStatus, ...] = ()
        self._changed = asyncio.Event()

    def show(self, statuses: Sequence[RuntimeStatus]) -> None:
        """Replace what is shown."""
        if tuple(statuses) == self.current:
            return
        self.current = tuple(statuses)
        self._changed.set()
        self._changed = asyncio.Event()

    async def newer_than(self, seen: tuple[RuntimeStatus, ...] | None) -> tuple[RuntimeStatus, ...]:
        """Return the statuses as soon as they are not those."""
        while self.current == seen:
            await self._changed.wait()
        return self.current

    async def changes(self) -> AsyncIterator[tuple[RuntimeStatus, ...]]:
        """Yield the statuses now and after each change, without end."""
        seen: tuple[RuntimeStatus, ...] | None = None
        while True:
            seen = await self.newer_than(seen)
            yield seen
