"""The stage that the trials of this folder share, and their verdicts at the end of the run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.harness.book import HEADER, Book
from tests.chaos.harness.fleet import fleet
from tests.chaos.harness.ground import prepared
from tests.chaos.harness.stage import Stage
from tests.chaos.harness.trial import Pace
from tests.worlds.loop import share_loop

BOOK = pytest.StashKey[Book]()


def pytest_configure(config: pytest.Config) -> None:
    """Open the book."""
    config.stash[BOOK] = Book()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what it has."""
    if lines := config.stash[BOOK].lines:
        terminalreporter.section(f"verdicts, --seed={config.getoption('--seed')}")
        for line in (HEADER, *lines):
            terminalreporter.write_line(line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the tests of this folder in the loop of the fleet, those that are for a soak only in one."""
    share_loop(items, __file__)
    if not config.getoption("--soak"):
        for_soak = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=for_soak)
        items[:] = [item for item in items if item not in for_soak]


@pytest.fixture(scope="session")
def pace(request: pytest.FixtureRequest) -> Pace:
    """How long a fault lasts: two seconds, and in a soak ten times as long."""
    seed = request.config.getoption("--seed")
    if request.config.getoption("--soak"):
        return Pace(fault_s=20, after_s=10, rate=200, seed=seed)
    return Pace(fault_s=2, after_s=2.3, rate=100, seed=seed)


@pytest.fixture(scope="session")
def book(request: pytest.FixtureRequest) -> Book:
    """Where verdicts are written."""
    return request.config.stash[BOOK]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory, pace: Pace, book: Book) -> AsyncIterator[Stage]:
    """A fleet whose processes are killed, suspended and cut off; each trial begins with all of it."""
    async with fleet(tmp_path_factory.mktemp("chaos")) as made, prepared(made) as ground:
        yield Stage(made, ground, pace, book)
