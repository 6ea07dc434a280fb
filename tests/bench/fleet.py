"""A mesh with two processes of each service that may have several, beside the others of the world."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import rivals
from tests.bench.rivals import Rival
from tests.bench.world import World

REPLICAS = 2


@dataclass(frozen=True)
class Fleet:
    """Where it answers, and where its `up` keeps its state."""

    rival: Rival
    data: Path

    def pids(self, service: str) -> list[int]:
        """Return the service's processes as they are now; none where the machine lacks it."""
        found: dict[str, list[int]] = json.loads((self.data / "up.json").read_text())["pids"]
        return found.get(service, [])


@contextmanager
def replicated(world: World, *, triton: bool = False) -> Iterator[Fleet]:
    """Run it with the world's workload; with `triton`, where one is installed, models have it for their first runtime."""
    data = world.data.parent / ("replicated-triton" if triton else "replicated")
    options = ("--triton", "auto" if triton else "off")
    with rivals.running_up(f"mesh, {REPLICAS} of each", data, *options, replicas=REPLICAS) as rival:
        fleet = Fleet(rival, data)
        runtimes = ("triton", "onnx") if fleet.pids("triton") else ("onnx",)
        rivals.define(data, world.data.parent / "workload", runtimes=runtimes)
        for gateway in rival.target.split(","):
            rivals.await_answer(gateway, world.work.requests(1)[0][0])
        yield fleet
