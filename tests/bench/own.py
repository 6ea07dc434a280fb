"""What the mesh costs besides predictions under load: memory, writes of features, and its start."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.bench import rivals, writes
from tests.bench.report import Figure
from tests.bench.world import World


def memory(world: World) -> Figure:
    """Return what the four services have; to be asked before anything else is asked of them."""
    return Figure("memory of the four services (PSS)", [rivals.memory_mib(world.mesh.all_pids)], "MiB", 400)


def written(world: World, repeats: int) -> Figure:
    """Measure the writes that the feature service takes."""
    rates = [asyncio.run(writes.rows_per_second(world.mesh.features, batches=100)) for _ in range(repeats)]
    return Figure("feature writes, streamed, standalone store", rates, "rows/s", 40_000, at_most=False)


def started(data: Path, request: bytes, repeats: int) -> Figure:
    """Start a mesh that has stopped, with the definitions that it had."""
    starts = [rivals.start_to_answer(data, request) for _ in range(repeats)]
    return Figure("start to first answer", starts, "s", 5)
