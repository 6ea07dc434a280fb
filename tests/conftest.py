"""What runs the mesh that a test body is run against: `--mesh=inprocess|processes|ADDRESS`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.scratch import write_to_memory

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

    from tests.worlds.mesh import Mesh
    from tests.worlds.sandbox import Sandbox


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose the world."""
    group = parser.getgroup("predictmesh")
    group.addoption(
        "--mesh",
        default="inprocess",
        metavar="WORLD",
        help="inprocess (the default), processes (`predictmesh up` on free ports), or the HOST:PORT of a gateway",
    )
    for service in ("features", "model", "registry"):
        group.addoption(
            f"--{service}", metavar="HOST:PORT", help=f"the {service} service of a given gateway; else on its port"
        )
    group.addoption("--seed", type=int, default=1, help="what the traffic of tests/chaos is drawn from")
    group.addoption(
        "--soak",
        nargs="?",
        type=float,
        const=10,
        default=0,
        metavar="MINUTES",
        help="hold all trials of tests/chaos, let their faults last, and soak the fleet for so long (10)",
    )


def pytest_configure() -> None:
    """Choose where tests write; and what they print is as wide as where there is no screen."""
    write_to_memory()
    os.environ.pop("COLUMNS", None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Say which tests stay together where several processes run them."""
    from tests.support.halves import Together  # noqa: PLC0415 - only there

    config.option.loadscopereorder = False
    return Together(config, log)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mesh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    """The mesh that all tests share: each works in a namespace of its own. Tests of it run in the session's loop."""
    from tests.worlds.choice import chosen_mesh  # noqa: PLC0415 - unit tests need not wait for all services to load

    async with chosen_mesh(request.config, tmp_path_factory.mktemp("mesh")) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(mesh: Mesh) -> AsyncIterator[Sandbox]:
    """A namespace of the module's own in the shared mesh."""
    from tests.worlds.sandbox import sandbox  # noqa: PLC0415 - as above

    async with sandbox(mesh) as opened:
        yield opened
