"""Callers with tritonclient, as a process of its own: at a model service or at Triton itself. Checks every answer.

Prints one JSON line. CPU is that of this process, and of those named, for each answer.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import uvloop
from tritonclient.grpc import aio

from tests.bench.load import Load
from tests.bench.model import wide


def _right(result: triton.InferResult, expected: wide.Floats) -> bool:
    values = result.as_numpy("y")
    return values is not None and bool(np.abs(values[:, 0] - expected).max() < wide.TOLERANCE)


async def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    workload = wide.make()
    requests: Any = [(workload.rows[row : row + 1], workload.answers[row : row + 1]) for row in range(wide.ROWS)]
    async with aio.InferenceServerClient(arguments.target) as client:

        async def infer(rows: wide.Floats, timeout: float) -> Any:
            tensor = triton.InferInput("x", rows.shape, "FP32")
            tensor.set_data_from_numpy(rows)
            return await client.infer(arguments.model, [tensor], client_timeout=timeout)

        pids = [os.getpid(), *arguments.pids]
        figures = await Load(infer, requests, _right, pause=0).run(arguments.callers, arguments.seconds, pids)
    return figures | {"client": str(os.getpid())}


def main() -> None:
    """Put load on a target and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("model", help="the model, as the target calls it")
    parser.add_argument("--callers", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--pids", type=int, nargs="*", default=[], help="processes whose CPU to report")
    print(json.dumps(uvloop.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
