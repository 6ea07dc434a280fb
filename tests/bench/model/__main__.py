"""`make bench-model`: ways to batch in front of real Tritons, in one run, interleaved, every answer checked."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from services.model.runtimes.triton_repository import triton_name
from tests.bench.model import measure, wide
from tests.bench.model.measure import Called, Closed, Open
from tests.bench.model.rivals import MAX_BATCH_ROWS, Rival, rival
from tests.bench.model.tables import (
    DEADLINE_MS,
    DIRECT,
    DIRECT_DYNAMIC,
    DYNAMIC,
    FIXED,
    LEARNT,
    ONE,
    STREAMED,
    THROUGH,
    figures,
    show,
)
from tests.bench.report import show_budgets, write

LOADS = (0.7, 0.9, 1.1, 1.5)
CALLERS = 64
# Unary calls in a run: two seconds or so.
CALLS, CALLS_OF_ONE = 6400, 1600

M = TypeVar("M", Closed, Open, Called)


@dataclass(frozen=True)
class World:
    """All rivals, up at the same time: who is not asked costs next to nothing."""

    learnt: Rival
    one: Rival
    fixed: Rival
    dynamic: Rival


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="make bench-model", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="counted time of each run")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each rival under each load")
    parser.add_argument("--out", type=Path, default=Path("tests/bench/results/latest_model.json"))
    arguments = parser.parse_args()
    runs = asyncio.run(_measure(arguments.seconds, arguments.repeats))
    found = figures(runs)
    show(runs)
    show_budgets(found)
    write(arguments.out, runs, found)


async def _measure(seconds: float, repeats: int) -> list[Closed | Open | Called]:
    runs: list[Closed | Open | Called] = []
    with tempfile.TemporaryDirectory() as directory:
        async with _world(Path(directory)) as world:
            for repeat in range(repeats):
                runs += map(_told, _batched(world, seconds))
                runs += map(_told, _overloaded(world, seconds, repeat))
                runs += map(_told, _added(world, seconds))
    return runs


@asynccontextmanager
async def _world(directory: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:

        async def up(name: str, batching: str, most: int = MAX_BATCH_ROWS) -> Rival:
            return await stack.enter_async_context(rival(name, batching, directory, most))

        yield World(
            await up(LEARNT, "learnt"),
            await up(ONE, "learnt", 1),
            await up(FIXED, "fixed"),
            await up(DYNAMIC, "triton"),
        )


def _batched(world: World, seconds: float) -> Iterator[Closed]:
    """Rows travel together or one by one; only those that do get a deadline that one by one nobody would meet."""
    name = triton_name(wide.make().version)
    yield measure.inside(world.one, name, CALLERS, seconds)
    yield measure.inside(world.learnt, name, CALLERS, seconds, DEADLINE_MS)
    yield measure.streams(world.one, CALLERS, seconds)
    yield measure.unary(world.one, CALLERS, CALLS_OF_ONE)
    for batched in (world.learnt, world.fixed, world.dynamic):
        yield measure.streams(batched, CALLERS, seconds, DEADLINE_MS)
        yield measure.unary(batched, CALLERS, CALLS, DEADLINE_MS)


def _overloaded(world: World, seconds: float, repeat: int) -> Iterator[Open]:
    for load in LOADS:
        # Anew for each load: a machine is not as fast now as a minute ago.
        most = measure.capacity(world.learnt, seconds)
        for batched in (world.learnt, world.fixed, world.dynamic):
            yield measure.overload(batched, load, most, seconds, seed=repeat)


def _added(world: World, seconds: float) -> Iterator[Called]:
    name = triton_name(wide.make().version)
    triton, dynamic = world.learnt.triton, world.dynamic
    both = {"service": [world.learnt.pid], "triton": world.learnt.triton_pids}
    for callers in (1, 32):
        yield measure.called(THROUGH, world.learnt.target, wide.MODEL, callers, seconds, both)
        yield measure.called(DIRECT, triton.grpc, name, callers, seconds, {"triton": world.learnt.triton_pids})
    yield measure.called_over_streams(STREAMED, world.learnt, 32, seconds, both)
    yield measure.called(DIRECT_DYNAMIC, dynamic.triton.grpc, name, 32, seconds, {"triton": dynamic.triton_pids})


def _told(run: M) -> M:
    print(run, file=sys.stderr)
    return run


if __name__ == "__main__":
    main()
