"""Callers in a closed loop: each asks again when answered. Every answer is compared with what must be answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from tests.bench.frames import OK, Connection
from tests.bench.h2load import CONNECTIONS
from tests.bench.load import PREDICT, TOLERANCE, cpu_seconds
from tests.bench.pressure import Pressed

WARM_UP_S = 0.4
_HEADERS = {"grpc-timeout": "5S"}
_END_LIMIT_S = 10.0

Request = tuple[bytes, list[float]]
"""A serialized PredictRequest of one row, and what must be answered as its only output."""
Check = Callable[[PredictResponse], bool]


@dataclass
class _Count:
    """What was answered while it was counted; seconds."""

    counting: bool = False
    wrong: int = 0
    failed: int = 0
    latencies: list[float] = field(default_factory=list)


class Callers:
    """So many callers of a gateway, who share connections. `check` may look at more than the values."""

    def __init__(self, requests: Sequence[Request], check: Check | None = None) -> None:
        self._requests = itertools.cycle(requests)
        self._check = check
        self._count = _Count()
        self._under_way: dict[tuple[int, int], tuple[float, list[float]]] = {}
        self._connections: list[Connection] = []
        self._over = False
        self._ended = asyncio.Event()

    async def run(self, target: str, callers: int, seconds: float, pids: Sequence[int]) -> Pressed:
        """Count for so long what is answered, with the CPU of processes; SystemExit if any answer is wrong or lacks."""
        host, _, port = target.rpartition(":")
        loop = asyncio.get_running_loop()
        for number in range(min(callers, CONNECTIONS)):
            make = partial(Connection, target, PREDICT, _HEADERS, partial(self._answered, number))
            _, connection = await loop.create_connection(make, host, int(port))
            self._connections.append(connection)
        for caller in range(callers):
            self._ask(caller % len(self._connections))
        try:
            return await self._counted(seconds, list(pids))
        finally:
            await self._end()

    async def _counted(self, seconds: float, pids: list[int]) -> Pressed:
        await asyncio.sleep(WARM_UP_S)
        before, start = cpu_seconds(pids), time.perf_counter()
        self._count.counting = True
        await asyncio.sleep(seconds)
        self._count.counting = False
        after, elapsed = cpu_seconds(pids), time.perf_counter() - start
        count, answered = self._count, len(self._count.latencies)
        if count.wrong or count.failed or not answered:
            raise SystemExit(f"{answered} answers, of which {count.wrong} wrong, and {count.failed} failures")
        p50, p99 = np.percentile(count.latencies, (50, 99)) * 1e3
        cpu = {pid: (after[pid] - before[pid]) / answered * 1e6 for pid in pids}
        return Pressed(answered, answered / elapsed, float(p50), float(p99), cpu)

    async def _end(self) -> None:
        self._over = True
        if self._under_way:
            async with asyncio.timeout(_END_LIMIT_S):
                await self._ended.wait()
        for connection in self._connections:
            connection.close()
            await connection.lost.wait()

    def _ask(self, number: int) -> None:
        message, answer = next(self._requests)
        start = time.perf_counter()
        self._under_way[number, self._connections[number].call(message)] = (start, answer)

    def _answered(self, number: int, stream: int, status: int, message: bytes) -> None:
        start, answer = self._under_way.pop((number, stream))
        took = time.perf_counter() - start
        if status != OK:
            self._count.failed += 1
        elif self._count.counting:
            self._count.latencies.append(took)
            self._count.wrong += not self._right(PredictResponse.FromString(message), answer)
        if not self._over:
            self._ask(number)
        elif not self._under_way:
            self._ended.set()

    def _right(self, response: PredictResponse, answer: list[float]) -> bool:
        given = response.outputs[0].floats
        near = all(abs(value - right) < TOLERANCE for value, right in zip(given, answer, strict=True))
        return near and (self._check is None or self._check(response))
