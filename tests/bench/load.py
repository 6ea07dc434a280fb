"""A closed-loop load generator as a process of its own: N callers, each asks again when answered. Checks every answer.

Prints one JSON line. The CPU of the processes under load is read here, at both ends of the counted time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop

from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from tests.bench import workload

PREDICT = "/predictmesh.gateway.v1.PredictionService/Predict"
EMPTY = "/bench.Ceiling/Call"
WARM_UP_S = 0.5
TOLERANCE = 1e-4


def cpu_seconds(pids: list[int]) -> dict[int, float]:
    """Return user+system seconds that each process has used."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found[pid] = (int(fields[11]) + int(fields[12])) / tick
    return found


Check = Callable[[Any, Any], bool]


def _right(response: PredictResponse, expected: workload.Floats) -> bool:
    values = response.outputs[0].floats
    return len(values) == len(expected) and bool(np.abs(np.array(values) - expected).max() < TOLERANCE)


class Load:
    """Callers in a closed loop, and what they have counted."""

    def __init__(
        self, call: Callable[..., Any], requests: Sequence[tuple[bytes, Any]], check: Check, pause: float
    ) -> None:
        self._call = call
        self._pause = pause
        self._requests = requests
        self._check = check
        self._counting = False
        self._over = False
        self._latencies: list[float] = []
        self._counts = {"answered": 0, "wrong": 0, "failed": 0}

    async def run(self, callers: int, seconds: float, pids: list[int]) -> dict[str, Any]:
        """Put on the load of `callers`, count for `seconds`, and return the figures."""
        tasks = [asyncio.create_task(self._caller(number)) for number in range(callers)]
        await asyncio.sleep(WARM_UP_S)
        self._counting, before, start = True, cpu_seconds(pids), time.perf_counter()
        await asyncio.sleep(seconds)
        self._counting, after, elapsed = False, cpu_seconds(pids), time.perf_counter() - start
        self._over = True
        await asyncio.gather(*tasks)
        answered = max(1, self._counts["answered"])
        return {
            **self._counts,
            "per_second": self._counts["answered"] / elapsed,
            "p50_ms": float(np.percentile(self._latencies, 50) * 1e3),
            "p99_ms": float(np.percentile(self._latencies, 99) * 1e3),
            "cpu_us": {str(pid): (after[pid] - before[pid]) / answered * 1e6 for pid in pids},
        }

    async def _caller(self, number: int) -> None:
        index = number * 37
        while not self._over:
            request, expected = self._requests[index % len(self._requests)]
            index += 1
            if self._pause:
                await asyncio.sleep(self._pause)
            start = time.perf_counter()
            try:
                response = await self._call(request, timeout=5)
            except grpc.aio.AioRpcError:
                self._counts["failed"] += self._counting
                continue
            if self._counting:
                self._latencies.append(time.perf_counter() - start)
                self._counts["answered"] += 1
                self._counts["wrong"] += not self._check(response, expected)


async def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    async with grpc.aio.insecure_channel(arguments.target) as channel:
        if arguments.empty:
            load = Load(channel.unary_unary(EMPTY, None, bytes), [(b"", b"")], bytes.__eq__, arguments.pause)
        else:
            with tempfile.TemporaryDirectory() as directory:
                requests = workload.make(Path(directory)).requests(arguments.rows)
            load = Load(
                channel.unary_unary(PREDICT, None, PredictResponse.FromString), requests, _right, arguments.pause
            )
        return await load.run(arguments.callers, arguments.seconds, arguments.pids)


def main() -> None:
    """Put load on a target and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--callers", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0, help="seconds between an answer and the next call")
    parser.add_argument("--empty", action="store_true", help="call the ceiling server")
    parser.add_argument("--pids", type=int, nargs="*", default=[], help="processes whose CPU to report")
    print(json.dumps(uvloop.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
