"""Where trials are held: a fleet, what it serves, and the book that verdicts are written in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.chaos.harness.book import Book
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.ground import Ground
from tests.chaos.harness.trial import Pace, tried
from tests.chaos.harness.verdict import Demands, Verdict

ATTEMPTS = 3


def soak(value: object) -> Any:
    """A parameter whose trial is held in a soak only: CI has minutes for all of them."""
    return pytest.param(value, marks=pytest.mark.soak)


@dataclass(frozen=True)
class Stage:
    """A fleet that a test may spoil."""

    fleet: Fleet
    ground: Ground
    pace: Pace
    book: Book

    async def trial(
        self,
        fault: Callable[[], AbstractAsyncContextManager[object]],
        demands: Demands | None = None,
        *,
        fault_s: float | None = None,
        burst: float = 1,
    ) -> Verdict:
        """Let a fault last under load, `burst` times as much meanwhile; fail unless the verdict is as demanded.

        `fault_s` is for a fault that needs another time than others. A trial whose verdict is in doubt is held again.
        """
        demands = demands or Demands()
        pace = self.pace if fault_s is None else replace(self.pace, fault_s=fault_s)
        verdict = await self._held(fault(), pace, burst)
        for _ in range(ATTEMPTS - 1):
            if verdict.is_in_doubt(demands, short=self.pace.is_short):
                verdict = await self._held(fault(), pace, burst)
        if verdict.faults(demands):
            # What is wrong with the fleet now would be found at the next trial again.
            self.fleet.end()
        verdict.demand(demands)
        return verdict

    async def _held(self, fault: AbstractAsyncContextManager[object], pace: Pace, burst: float) -> Verdict:
        verdict = await tried(self.fleet, self.ground, fault, pace, burst=burst)
        self.book.enter(verdict)
        return verdict
