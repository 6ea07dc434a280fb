"""The model service in front of a Triton as a process: the real one, or with another way to batch in its place.

Prints a JSON line with its addresses once the workload answers, and ends at a signal or at the end of its input.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from predictmesh.model.v1.runtime_pb2 import RUNTIME_STATE_READY
from services.model import batcher, serving
from services.model.batch import Batch
from services.model.runtimes import triton
from tests.bench.model import wide
from tests.bench.model.fixed import FixedBatcher, NoBatcher
from tests.bench.model.ledger import LEDGER
from tests.support.model_process import model_process, states

# What Triton is told where the batches are left to it: the same wait as FixedBatcher's.
_DYNAMIC = "dynamic_batching { max_queue_delay_microseconds: 2000 }\n"


def _learnt() -> None:
    """Batch by deadline and learnt cost: the service as it is, and its batches noted."""
    compute = vars(batcher)["compute"]

    async def noted(batch: Batch, *arguments: Any) -> None:
        with LEDGER.noted(batch):
            await compute(batch, *arguments)

    vars(batcher)["compute"] = noted


def _fixed() -> None:
    """Batch by number and time."""
    vars(serving)["Batcher"] = FixedBatcher


def _triton() -> None:
    """Leave the batches to Triton."""
    config = vars(triton)["model_config"]
    vars(serving)["Batcher"] = NoBatcher
    vars(triton)["model_config"] = lambda *arguments: config(*arguments) + _DYNAMIC


BATCHING = {"learnt": _learnt, "fixed": _fixed, "triton": _triton}
"""Who puts rows together, by name."""


async def _serve(settings: Mapping[str, Any]) -> None:
    workload = wide.make()
    with tempfile.TemporaryDirectory() as directory:
        async with model_process(Path(directory), **settings) as process:
            process.upload(workload.model)
            process.publish(workload.version)
            await process.settled(lambda reported: RUNTIME_STATE_READY in states(reported).values())
            gc.collect()
            gc.freeze()
            print(json.dumps({"grpc": process.address, "http": process.http_address}), flush=True)
            await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Serve the workload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("batching", choices=BATCHING)
    parser.add_argument("--triton", required=True)
    parser.add_argument("--triton-repository", required=True)
    parser.add_argument("--max-batch-rows", type=int, required=True)
    settings = vars(parser.parse_args())
    BATCHING[settings.pop("batching")]()
    uvloop.run(_serve(settings))


if __name__ == "__main__":
    main()
