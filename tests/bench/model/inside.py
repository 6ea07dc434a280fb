"""The batcher in front of a model at a Triton, without a service around it: callers and batcher share this process.

Calls of one row cost a server and its callers more than a wide model takes to compute them. What batching gains shows
whole only where they do not come over a network. Checks every answer and prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

import numpy as np
import uvloop

from services.mesh.errors import MeshError
from services.model.batcher import Batcher
from services.model.calls import InferCall
from services.model.runtimes.oip import OipRuntime
from services.model.schedule import Limits
from services.model.station import Station
from services.model.versions import Artifact, Placement
from tests.bench.model import wide
from tests.bench.model.load import WARM_UP_S, Tally

ROWS_IN_FLIGHT = 8192


class Callers:
    """Callers of one row each, in a closed loop."""

    def __init__(self, batcher: Batcher, workload: wide.Wide) -> None:
        self.tally = Tally()
        self._batcher = batcher
        self._workload = workload

    async def run(self, callers: int, seconds: float, budget_ms: float) -> None:
        """Ask for so long, after a second to warm up."""
        start = time.perf_counter() + WARM_UP_S
        await asyncio.gather(*(self._caller(number, start, seconds, budget_ms / 1000) for number in range(callers)))

    async def _caller(self, number: int, start: float, seconds: float, budget_s: float) -> None:
        row = number * 37
        while (now := time.perf_counter()) < start + seconds:
            row = (row + 1) % wide.ROWS
            outcome = await self._outcome(row, budget_s)
            if now >= start:
                self.tally.outcomes[outcome] += 1
                if outcome == "OK":
                    self.tally.latencies.append(time.perf_counter() - now)

    async def _outcome(self, row: int, budget_s: float) -> str:
        deadline = time.monotonic() + budget_s
        try:
            answer = await self._batcher.infer(InferCall({"x": self._workload.rows[row : row + 1]}, 1, deadline))
        except MeshError as error:
            return error.code.name
        if np.abs(answer.outputs["y"] - self._workload.answers[row]).max() > wide.TOLERANCE:
            return "WRONG"
        return "OK" if time.monotonic() <= deadline else "LATE"


async def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    workload = wide.make()
    version = workload.version
    placement = Placement(version, Artifact("oip", "", "", f"{arguments.target}/{arguments.model}"))
    model = await OipRuntime().load(placement, None)
    # As many batches at once as at a Triton with one copy of the model, which this is.
    model.parallel, model.ahead = 1, 1
    station = Station(placement, model)
    await station.warm(arguments.max_batch_rows)
    batcher = Batcher(version.signature, Limits(arguments.max_batch_rows, ROWS_IN_FLIGHT))
    batcher.use([station], station.runtime)
    callers = Callers(batcher, workload)
    await callers.run(arguments.callers, arguments.seconds, arguments.budget)
    await station.close()
    return callers.tally.figures(1, arguments.seconds)


def main() -> None:
    """Put load on a batcher and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="a Triton's gRPC address")
    parser.add_argument("model", help="the model, as it is called there")
    parser.add_argument("--max-batch-rows", type=int, required=True)
    parser.add_argument("--callers", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--budget", type=float, required=True, help="milliseconds that calls are given")
    print(json.dumps(uvloop.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
