"""A load generator as a process of its own, whose calls have deadlines. Checks every answer and prints one JSON line.

Closed loop: so many callers, each of whom asks again when answered. Open loop: calls arrive by chance (Poisson, from a
seed) at a rate that does not care how they fare; the deadline of each counts from when it was due.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import uvloop
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from services.mesh.channel import open_stub
from services.mesh.errors import MeshError
from tests.bench.load import cpu_seconds
from tests.bench.model import wide

INFER = "/inference.GRPCInferenceService/ModelInfer"
WARM_UP_S = 1.0


@dataclass
class Tally:
    """Calls that were due in the counted time, by what came of them, and how long the answered ones took."""

    outcomes: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def figures(self, rows: int, seconds: float) -> dict[str, Any]:
        """Sum up: rows a second answered in time, calls by outcome, and percentiles in milliseconds."""
        p50, p99 = np.percentile(self.latencies, (50, 99)) * 1e3 if self.latencies else (0, 0)
        return {
            "rows_per_second": self.outcomes["OK"] * rows / seconds,
            "outcomes": dict(self.outcomes),
            "p50_ms": float(p50),
            "p99_ms": float(p99),
        }


class Load:
    """Calls of so many rows, and what has come of them by the milliseconds that they were given.

    `answered` counts all that were answered well, also before the counted time; `lags` are the seconds by which calls of
    the open loop were made too late.
    """

    def __init__(self, call: Callable[..., Awaitable[Any]], rows: int) -> None:
        self.rows = rows
        self.tallies: dict[float, Tally] = {}
        self.lags: list[float] = []
        self.answered = 0
        self._call = call
        self._requests = wide.make().requests(rows)
        self._asked = 0

    async def closed(self, callers: int, seconds: float, budget_ms: float, pids: list[int]) -> dict[str, float]:
        """Ask by so many callers at once, and say what each answer cost processes, in microseconds of CPU."""
        start = time.perf_counter() + WARM_UP_S
        at_start = asyncio.get_running_loop().create_task(self._cpu_after(WARM_UP_S, pids))

        async def caller() -> None:
            while (now := time.perf_counter()) < start + seconds:
                await self._ask(now, budget_ms, counted=now >= start)

        await asyncio.gather(*(caller() for _ in range(callers)))
        before, after = await at_start, cpu_seconds(pids)
        answered = max(1, self.tallies[budget_ms].outcomes["OK"])
        return {str(pid): (after[pid] - before[pid]) / answered * 1e6 for pid in pids}

    @staticmethod
    async def _cpu_after(seconds: float, pids: list[int]) -> dict[int, float]:
        await asyncio.sleep(seconds)
        return cpu_seconds(pids)

    async def open(self, rows_per_second: float, seconds: float, budgets_ms: Sequence[float], seed: int) -> None:
        """Ask at random times, each time with one of the budgets, evenly by chance."""
        start = time.perf_counter()
        calls = set()
        for due, budget_ms in self._arrivals(rows_per_second, WARM_UP_S + seconds, budgets_ms, seed):
            wait_s = start + due - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            counted = due >= WARM_UP_S
            if counted:
                self.lags.append(time.perf_counter() - start - due)
            task = asyncio.create_task(self._ask(start + due, budget_ms, counted=counted))
            calls.add(task)
            task.add_done_callback(calls.discard)
        await asyncio.gather(*calls)

    def _arrivals(
        self, rows_per_second: float, seconds: float, budgets_ms: Sequence[float], seed: int
    ) -> Iterator[tuple[float, float]]:
        random = np.random.default_rng(seed)
        expected = rows_per_second / self.rows * seconds
        times = np.sort(random.uniform(0, seconds, random.poisson(expected)))
        return zip(times.tolist(), random.choice(budgets_ms, len(times)).tolist(), strict=True)

    async def _ask(self, due: float, budget_ms: float, *, counted: bool) -> None:
        request, expected = self._requests[self._asked % len(self._requests)]
        self._asked += 1
        outcome = await self._outcome(request, expected, due + budget_ms / 1000)
        self.answered += outcome == "OK"
        if counted:
            tally = self.tallies.setdefault(budget_ms, Tally())
            tally.outcomes[outcome] += 1
            if outcome == "OK":
                tally.latencies.append(time.perf_counter() - due)

    async def _outcome(self, request: bytes, expected: wide.Floats, deadline: float) -> str:
        left_s = deadline - time.perf_counter()
        if left_s <= 0:
            return "NOT_SENT"
        try:
            response = await self._call(request, timeout=left_s)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        except MeshError as error:
            return error.code.name
        if not wide.right(response, expected):
            return "WRONG"
        return "OK" if time.perf_counter() <= deadline else "LATE"


@asynccontextmanager
async def _calling(target: str, *, exchange: bool) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Yield a way to call ModelInfer with serialized requests."""
    if not exchange:
        async with grpc.aio.insecure_channel(target) as channel:
            yield channel.unary_unary(INFER, None, oip.ModelInferResponse.FromString)
        return
    async with open_stub(target, GRPCInferenceServiceStub, exchange=True) as stub:

        async def call(request: bytes, timeout: float) -> Any:
            return await stub.ModelInfer(oip.ModelInferRequest.FromString(request), timeout=timeout)

        yield call


async def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    async with _calling(arguments.target, exchange=arguments.exchange) as call:
        load = Load(call, arguments.rows)
        cpu_us: dict[str, float] = {}
        if arguments.callers:
            pids = [os.getpid(), *arguments.pids]
            cpu_us = await load.closed(arguments.callers, arguments.seconds, arguments.budgets[0], pids)
        else:
            await load.open(arguments.rows_per_second, arguments.seconds, arguments.budgets, arguments.seed)
        return {
            "lag_p99_ms": float(np.percentile(load.lags, 99) * 1e3) if load.lags else 0.0,
            "answered": load.answered,
            "client": str(os.getpid()),
            "cpu_us": cpu_us,
            "by_budget_ms": {
                budget_ms: tally.figures(load.rows, arguments.seconds) for budget_ms, tally in load.tallies.items()
            },
        }


def main() -> None:
    """Put load on a target and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--rows", type=int, required=True, help="of each call")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--budgets", type=float, nargs="+", required=True, help="milliseconds that calls are given")
    parser.add_argument("--exchange", action="store_true", help="call as the gateway does, over streams that stay open")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--callers", type=int, default=0, help="closed loop: callers at once")
    kind.add_argument("--rows-per-second", type=float, default=0, help="open loop: what arrives on average")
    parser.add_argument("--pids", type=int, nargs="*", default=[], help="closed loop: processes whose CPU to report")
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(uvloop.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
