"""Open-loop load as a process of its own: calls arrive by chance at a rate that does not care how they fare.

Latency counts from when a call was due, so that a server that stalls is charged for all who arrive meanwhile. Every
status is counted, every answer compared. A call costs the generator 40 us, where one of k6 costs 300 us.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from tests.bench import workload
from tests.bench.frames import UNAVAILABLE, Connection
from tests.bench.h2load import CONNECTIONS
from tests.bench.load import PREDICT, TOLERANCE, WARM_UP_S, cpu_seconds

WRONG = "WRONG"
_STATUSES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}
_END_LIMIT_S = 30.0
_RECONNECT_S = 0.02


@dataclass(frozen=True)
class Offered:
    """What came of calls at a rate: how many by status (an answer that is not right is WRONG), and how long each took.

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


def offer(
    target: str, rate: float, seconds: float, *, rows: int = 1, connections: int = CONNECTIONS,
    headers: Sequence[str] = (), timeout_ms: int = 1000, pids: Sequence[int] = (),
) -> Offered:  # fmt: skip
    """Ask gateways at `target` (addresses by commas) for the workload; `headers` as "name: value"."""
    command = [sys.executable, "-m", "tests.bench.openloop", target, "--rate", str(rate), "--seconds", str(seconds),
               "--rows", str(rows), "--connections", str(connections), "--timeout-ms", str(timeout_ms),
               *(part for header in headers for part in ("--header", header)),
               "--pids", *map(str, pids)]  # fmt: skip
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return Offered(**found | {"cpu_us": {int(pid): used for pid, used in found["cpu_us"].items()}})


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

    def __init__(
        self, targets: Sequence[str], requests: Sequence[tuple[bytes, workload.Floats]], headers: dict[str, str]
    ) -> None:
        self._targets = targets
        self._requests = requests
        self._headers = headers
        self._connections: dict[int, Connection] = {}
        self._under_way: dict[tuple[int, int], tuple[float, workload.Floats]] = {}
        self._tally = _Tally()
        self._counted_from = float("inf")
        self._over = False
        self._ended = asyncio.Event()

    async def run(self, rate: float, seconds: float, connections: int, pids: Sequence[int], seed: int = 1) -> Offered:
        """Warm up, then count for `seconds`; returns when each call has come to its end."""
        await asyncio.gather(*(self._connect(number) for number in range(connections)))
        keeping = [asyncio.create_task(self._keep(number)) for number in range(connections)]
        gaps = _gaps(rate, seed)
        await self._arrive(gaps, time.perf_counter(), WARM_UP_S)
        before, self._counted_from = cpu_seconds(list(pids)), time.perf_counter()
        await self._arrive(gaps, self._counted_from, seconds)
        after = cpu_seconds(list(pids))
        await self._end()
        for task in keeping:
            task.cancel()
        tally, count = self._tally, max(1, self._tally.outcomes.total())
        late = float(np.percentile(tally.lags, 99) * 1e3) if tally.lags else 0.0
        latencies = {status: [round(took * 1e3, 3) for took in found] for status, found in tally.latencies.items()}
        cpu = {pid: (after[pid] - before[pid]) / count * 1e6 for pid in pids}
        return Offered(rate, seconds, dict(tally.outcomes), latencies, late, cpu)

    async def _arrive(self, gaps: Iterator[float], start: float, seconds: float) -> None:
        """Make the calls that are due from `start` on for so long."""
        due = start + next(gaps)
        while due < start + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            now = time.perf_counter()
            while due <= now and due < start + seconds:
                self._call(due, now)
                due += next(gaps)

    def _call(self, due: float, now: float) -> None:
        turn = len(self._tally.lags)
        self._tally.lags.append(now - due)
        message, answer = self._requests[turn * 37 % len(self._requests)]
        connection = self._open(turn % len(self._connections))
        key = (id(connection), connection.call(message))
        self._under_way[key] = (due, answer)
        if connection.lost.is_set():
            self._answered(id(connection), key[1], UNAVAILABLE, b"")

    def _open(self, number: int) -> Connection:
        """Return the connection of that number, or another if the server leaves it; any if it leaves all."""
        mine = self._connections[number]
        if not mine.leaving.is_set():
            return mine
        return next((other for other in self._connections.values() if not other.leaving.is_set()), mine)

    async def _connect(self, number: int) -> None:
        target = self._targets[number % len(self._targets)]
        host, _, port = target.rpartition(":")
        loop = asyncio.get_running_loop()
        connection = Connection(target, PREDICT, self._headers, lambda *end: self._answered(id(connection), *end))
        await loop.create_connection(lambda: connection, host, int(port))
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
            name = _STATUSES[status]
            if name == "OK" and not _right(message, answer):
                name = WRONG
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


def _right(message: bytes, answer: workload.Floats) -> bool:
    response = PredictResponse.FromString(message)
    values = response.outputs[0].floats
    return len(values) == len(answer) and all(
        abs(value - right) < TOLERANCE for value, right in zip(values, answer, strict=True)
    )


def _loop() -> asyncio.AbstractEventLoop:
    """Wake at the microsecond that was asked for; epoll, and so uvloop, wakes at the millisecond."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        requests = workload.make(Path(directory)).requests(arguments.rows)
    headers = {"grpc-timeout": f"{arguments.timeout_ms}m"} | dict(header.split(": ", 1) for header in arguments.header)
    loop = OpenLoop(arguments.target.split(","), requests, headers)
    return asdict(await loop.run(arguments.rate, arguments.seconds, arguments.connections, arguments.pids))


def main() -> None:
    """Offer load to a target and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="HOST:PORT of gateways, by commas")
    parser.add_argument("--rate", type=float, required=True, help="calls a second")
    parser.add_argument("--seconds", type=float, required=True, help="counted time, after half a second that is not")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--timeout-ms", type=int, default=1000)
    parser.add_argument("--header", action="append", default=[], help='"name: value", also several times')
    parser.add_argument("--pids", type=int, nargs="*", default=[], help="processes whose CPU to report")
    with asyncio.Runner(loop_factory=_loop) as runner:
        print(json.dumps(runner.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
