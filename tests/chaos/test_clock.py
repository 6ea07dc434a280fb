"""The clock of the machine is set, an hour ahead or two hours back, while everything runs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from tests.chaos.harness.book import Book
from tests.chaos.harness.callers import PLAIN
from tests.chaos.harness.fleet import Layout, fleet
from tests.chaos.harness.ground import Ground, prepared
from tests.chaos.harness.stage import Stage, soak
from tests.chaos.harness.trial import Pace
from tests.chaos.harness.verdict import Demands
from tests.support.clock import Clock

SERVICES = ("gateway", "features", "model", "registry")


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    """The clock of the services; that of the store is another machine's."""
    return Clock.made(tmp_path_factory.mktemp("clock"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def by_clock(
    tmp_path_factory: pytest.TempPathFactory, clock: Clock, pace: Pace, book: Book
) -> AsyncIterator[Stage]:
    """A fleet that goes by the clock."""
    layout = Layout(variables=dict.fromkeys(SERVICES, clock.variables))
    async with fleet(tmp_path_factory.mktemp("chaos"), layout) as made, prepared(made) as ground:
        yield Stage(made, ground, pace, book)


@asynccontextmanager
async def jumped(clock: Clock, ahead_s: float, ground: Ground) -> AsyncIterator[None]:
    """Set the clock, and set it right again; answers say that they go by it."""
    clock.set(ahead_s)
    try:
        answer = await ground.own.predict(PLAIN, {"rider_id": ["r1"]}, as_of_us=None)
        assert abs(answer.provenance.as_of.ToMicroseconds() / 1e6 - time.time() - ahead_s) < 60
        yield
    finally:
        clock.set(0)


@pytest.mark.parametrize("ahead_s", [soak(3600), -7200], ids=["ahead", "back"])
async def test_clock_jumps(by_clock: Stage, clock: Clock, ahead_s: float) -> None:
    """No call fails: time that is waited is another clock's. Ages go by the time that answers are of, which they say."""
    await by_clock.trial(lambda: jumped(clock, ahead_s, by_clock.ground), Demands(failures=0))
