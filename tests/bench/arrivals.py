"""Calls that arrive by chance at a rate, in one event loop, and what comes of each."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import grpc
import numpy as np

from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from tests.bench import workload
from tests.bench.client import Client
from tests.bench.frames import UNAVAILABLE, Answered, Connection
from tests.bench.load import PREDICT, TOLERANCE, WARM_UP_S, cpu_seconds

WRONG, DEGRADED = "WRONG", "DEGRADED"
_STATUSES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}
_END_LIMIT_S = 30.0
_RECONNECT_S = 0.02


@dataclass(frozen=True)
class Offered:
    """What came of calls at a rate: how many by status (of other values DEGRADED if they say so, else WRONG), and how long each took.

    `late_ms` is the p99 of how late the generator itself made its calls; it is part of their latencies.
    `cpu_us` is CPU a call by process.
    """

    rate: float
    seconds: float
    outcomes: dict[str, int]
    latencies_ms: dict[str, list[float]]
    late_ms: float
    cpu_us: dict[int, float]

    @property
    def per_second(self) -> float:
        """Right answers a second."""
        return self.outcomes.get("OK", 0) / self.seconds

    @property
    def failed(self) -> int:
        """Calls without a right answer."""
        return sum(self.outcomes.values()) - self.outcomes.get("OK", 0)

    def percentile_ms(self, percent: float, status: str = "OK") -> float:
        """Return a percentile of how long calls of a status took; NaN where none was so."""
        found = self.latencies_ms.get(status, [])
        return float(np.percentile(found, percent)) if found else float("nan")


Open = Callable[[int, Answered], Awaitable[Connection | Client]]
"""Opens the connection of a number, which tells of the ends of its calls."""


def connecting(targets: Sequence[str], headers: Mapping[str, str]) -> Open:
    """Return what opens connections to the targets, by turns."""

    async def open_(number: int, answered: Answered) -> Connection:
        target = targets[number % len(targets)]
        host, _, port = target.rpartition(":")
        connection = Connection(target, PREDICT, headers, answered)
        await asyncio.get_running_loop().create_connection(lambda: connection, host, int(port))
        return connection

    return open_


@dataclass
class _Tally:
    """Of the calls that were due in the counted time; latencies and lags in seconds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    lags: list[float] = field(default_factory=list)

    def add(self, status: str, latency: float) -> None:
        """Count a call that has come to its end."""
        self.outcomes[status] += 1
        self.latencies.setdefault(status, []).append(latency)


class OpenLoop:
    """Calls of one method over connections to several addresses, by turns. A connection the server leaves is replaced."""

    def __init__(self, requests: Sequence[tuple[bytes, workload.Floats]], open_: Open) -> None:
        self._requests = requests
        self._open_connection = open_
        self._connections: dict[int, Connection | Client] = {}
        self._under_way: dict[tuple[int, int], tuple[float, workload.Floats]] = {}
        self._tally = _Tally()
        self._counted_from = float("inf")
        self._stopped = self._over = False
        self._ended = asyncio.Event()

    async def run(self, rate: float, seconds: float, connections: int, pids: Sequence[int], seed: int = 1) -> Offered:
        """Warm up, then count for `seconds` or until stopped; returns when each call has come to its end."""
        await asyncio.gather(*(self._connect(number) for number in range(connections)))
        keeping = [asyncio.create_task(self._keep(number)) for number in range(connections)]
        gaps = _gaps(rate, seed)
        await self._arrive(gaps, time.perf_counter(), WARM_UP_S)
        before, self._counted_from = cpu_seconds(list(pids)), time.perf_counter()
        print("counting", flush=True)
        await self._arrive(gaps, self._counted_from, seconds)
        elapsed = min(seconds, time.perf_counter() - self._counted_from)
        after = cpu_seconds(list(pids))
        await self._end()
        for task in keeping:
            task.cancel()
        tally, count = self._tally, max(1, self._tally.outcomes.total())
        late = float(np.percentile(tally.lags, 99) * 1e3) if tally.lags else 0.0
        latencies = {status: [round(took * 1e3, 3) for took in found] for status, found in tally.latencies.items()}
        cpu = {pid: (after[pid] - before[pid]) / count * 1e6 for pid in pids}
        return Offered(rate, elapsed, dict(tally.outcomes), latencies, late, cpu)

    def stop(self) -> None:
        """Make no more calls."""
        self._stopped = True

    async def _arrive(self, gaps: Iterator[float], start: float, seconds: float) -> None:
        """Make the calls that are due from `start` on for so long."""
        due = start + next(gaps)
        while due < start + seconds and not self._stopped:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            now = time.perf_counter()
            while due <= now and due < start + seconds:
                self._call(due, now)
                due += next(gaps)

    def _call(self, due: float, now: float) -> None:
        turn = len(self._tally.lags)
        self._tally.lags.append(now - due)
        message, answer = self._requests[turn * 37 % len(self._requests)]
        connection = self._serving(turn % len(self._connections))
        key = (id(connection), connection.call(message))
        self._under_way[key] = (due, answer)
        if connection.lost.is_set():
            self._answered(id(connection), key[1], UNAVAILABLE, b"")

    def _serving(self, number: int) -> Connection | Client:
        """Return the connection of that number, or another if the server leaves it; any if it leaves all."""
        mine = self._connections[number]
        if not mine.leaving.is_set():
            return mine
        return next((other for other in self._connections.values() if not other.leaving.is_set()), mine)

    async def _connect(self, number: int) -> None:
        connection = await self._open_connection(number, lambda *end: self._answered(id(connection), *end))
        self._connections[number] = connection

    async def _keep(self, number: int) -> None:
        while True:
            await self._connections[number].leaving.wait()
            try:
                await self._connect(number)
            except OSError:
                await asyncio.sleep(_RECONNECT_S)

    def _answered(self, connection: int, stream: int, status: int, message: bytes) -> None:
        due, answer = self._under_way.pop((connection, stream))
        if due >= self._counted_from:
            name = _STATUSES[status] if status else _judged(message, answer)
            self._tally.add(name, time.perf_counter() - due)
        if self._over and not self._under_way:
            self._ended.set()

    async def _end(self) -> None:
        self._over = True
        if self._under_way:
            async with asyncio.timeout(_END_LIMIT_S):
                await self._ended.wait()
        for connection in self._connections.values():
            connection.close()


def _gaps(rate: float, seed: int) -> Iterator[float]:
    """Yield the seconds between one call and the next."""
    random = np.random.default_rng(seed)
    while True:
        yield from random.exponential(1 / rate, 1000).tolist()


def _judged(message: bytes, answer: workload.Floats) -> str:
    """Return OK for the right values, DEGRADED for others of which the answer says that they may be, else WRONG."""
    response = PredictResponse.FromString(message)
    values = response.outputs[0].floats if response.outputs else ()
    if len(values) == len(answer) and all(
        abs(value - right) < TOLERANCE for value, right in zip(values, answer, strict=True)
    ):
        return "OK"
    return DEGRADED if response.provenance.degradations else WRONG
