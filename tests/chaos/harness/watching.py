"""What the processes of a fleet take and do meanwhile: their memory, and the calls that gateways make downstream."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import linear_regression

import psutil

from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.machine import Machine
from tests.worlds.parts import Part

EVERY_S = 0.5
PAGE_LIMIT_S = 1.0
DOWNSTREAM = ("GetFeatures", "ModelInfer")
_COUNT = re.compile(r'^rpc_client_call_duration_seconds_count\{rpc_method="[^"]*/(\w+)",.*\} (\S+)$', re.MULTILINE)
MIB = 2**20


@dataclass
class Watch:
    """By part what it held in memory, MiB, sample after sample; and by method how many calls the gateways made."""

    fleet: Fleet
    machine: Machine
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    calls: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _counted: dict[tuple[int, str], float] = field(default_factory=dict)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Take one sample of each process that runs."""
        now = asyncio.get_running_loop().time()
        self.machine.look()
        for name, pid in self.fleet.pids.items():
            try:
                self.memory[name].append((now, psutil.Process(pid).memory_info().rss / MIB))
            except psutil.NoSuchProcess:
                continue
        await asyncio.gather(*(self._count(gateway) for gateway in self.fleet.gateways))

    async def _count(self, gateway: Part) -> None:
        """Add what a gateway has called since the last look; a new process begins at nothing."""
        process = gateway.process
        if process is None:
            return
        for method, count in (await asyncio.to_thread(_downstream_calls, gateway)).items():
            before = self._counted.get((process.pid, method), 0)
            self._counted[process.pid, method] = count
            self.calls[method] += count - before

    def forget_calls(self) -> None:
        """Count from here."""
        self.calls.clear()

    @property
    def growth_mib(self) -> dict[str, float]:
        """By part how much more it held at its most than at first."""
        return {name: max(held for _, held in samples) - samples[0][1] for name, samples in self.memory.items()}


def slope_mib_a_minute(samples: Sequence[tuple[float, float]]) -> float:
    """How fast the memory of a process grows by its samples (seconds, MiB), as the line nearest to them all does."""
    seconds, held = zip(*samples, strict=True)
    return linear_regression(seconds, held).slope * 60


def _downstream_calls(gateway: Part) -> dict[str, float]:
    """Return the calls that a gateway has made so far; nothing where it does not say."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway.http_port}/metrics", timeout=PAGE_LIMIT_S) as answer:
            page = answer.read().decode()
    except OSError:
        return {}
    counts: dict[str, float] = defaultdict(float)
    for method, count in _COUNT.findall(page):
        if method in DOWNSTREAM:
            counts[method] += float(count)
    return counts


@asynccontextmanager
async def watching(fleet: Fleet) -> AsyncIterator[Watch]:
    """Watch for the time of the context."""
    watch = Watch(fleet, Machine(fleet))
    await watch.look()
    watch.forget_calls()
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await watch.look()
