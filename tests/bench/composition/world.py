"""What is measured: the mesh, a gateway by hand beside it, and the mesh as it was at another revision."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import beside, rivals
from tests.bench.composition.definitions import NAMESPACE, PLAIN, Definitions, define, define_views
from tests.bench.rivals import Rival
from tests.worlds.mesh import connect
from tests.worlds.sandbox import Sandbox
from tests.worlds.up import Up, up

_QUIET = ("--log-level", "error")


@dataclass(frozen=True)
class World:
    """All of it, up at the same time: who is not asked costs next to nothing. `before` only where it was asked for."""

    mesh: Rival
    by_hand: Rival
    before: Rival | None
    running: Up
    directory: Path


@asynccontextmanager
async def world(directory: Path, definitions: Definitions, before: str) -> AsyncIterator[World]:
    """Run it for the time of the context; `before` is a revision, or empty."""
    async with AsyncExitStack() as stack:
        running = stack.enter_context(up(_made(directory / "mesh"), *_QUIET))
        mesh = _rival("mesh", running)
        async with connect(running.addresses) as opened:
            await define(opened, definitions)
        data = directory / "mesh" / "data"
        by_hand = stack.enter_context(beside.gateway("by hand", "tests.bench.composition.by_hand", mesh, data))
        rivals.await_answer(by_hand.target, definitions.requests(PLAIN)[0][0])
        old = await stack.enter_async_context(_before(directory, definitions, before)) if before else None
        yield World(mesh, by_hand, old, running, directory)


@asynccontextmanager
async def _before(directory: Path, definitions: Definitions, revision: str) -> AsyncIterator[Rival]:
    """Run the code of another revision, with the plain endpoint."""
    with _worktree(directory / "before-code", revision) as code:
        # The directory of the caller would come before that of the code.
        environment = {"PYTHONSAFEPATH": "1", "PYTHONPATH": f"{code}:{code / 'protos'}"}
        with up(_made(directory / "before"), *_QUIET, env=environment) as running:
            async with connect(running.addresses) as opened:
                own = Sandbox(opened, NAMESPACE)
                await define_views(own, definitions.rows)
                await own.serve(PLAIN, *definitions.models[PLAIN])
            yield _rival("before", running)


@contextmanager
def _worktree(directory: Path, revision: str) -> Iterator[Path]:
    subprocess.run(["git", "worktree", "add", "--detach", str(directory), revision], check=True, capture_output=True)
    try:
        yield directory
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(directory)], check=True, capture_output=True)


def _rival(name: str, running: Up) -> Rival:
    line = running.line
    pids = {service: found for service, found in line["pids"].items() if service != "valkey"}
    return Rival(name, line["gateway"], line["http"]["gateway"], pids, line["features"])


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
