"""Another generator's word: k6, in an open loop at a rate that all can answer, each status and each score checked.

A call costs k6 300 us of CPU, so it is of no use where the services are to be pressed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import MessageToDict

from predictmesh.gateway.v1 import prediction_service_pb2
from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest
from tests.bench.checking import http_body
from tests.bench.rivals import Rival
from tests.bench.stacks.running import program
from tests.bench.workload import Workload
from tests.bench.world import World

RATE = 100
_SCRIPT = Path(__file__).with_name("k6.js")


@dataclass(frozen=True)
class Seen:
    """What k6 saw of a rival: good calls and how long they took from being sent, and calls it was too late to make."""

    rival: str
    rate: float
    calls: int
    dropped: int
    p50_ms: float
    p99_ms: float


def measure(world: World, seconds: int, repeats: int) -> list[Seen]:
    """Let k6 call each rival but the ceiling, by turns; raises SystemExit if an answer was wrong or failed."""
    directory = world.data.parent
    (directory / "asked.json").write_text(json.dumps(_asked(world.work)))
    (directory / "predict.protoset").write_bytes(_protoset())
    return [
        _seen(rival, directory, seconds) for _ in range(repeats) for rival in world.rivals if rival.speaks != "empty"
    ]


def _seen(rival: Rival, directory: Path, seconds: int) -> Seen:
    variables = {
        "TARGET": rival.target,
        "SPEAKS": rival.speaks,
        "RATE": str(RATE),
        "SECONDS": str(seconds),
        "ASKED": str(directory / "asked.json"),
        "PROTOSET": str(directory / "predict.protoset"),
    }
    summary = directory / "k6.json"
    command = [program("k6"), "run", "--quiet", "--no-usage-report", "--summary-export", str(summary), str(_SCRIPT)]
    ended = subprocess.run(
        command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"k6 of {rival.name}: {ended.stdout}")
    metrics = json.loads(summary.read_text())["metrics"]
    took = metrics["http_req_duration" if rival.speaks == "http" else "grpc_req_duration"]
    print(f"{rival.name:>22} {RATE}/s by k6: p50 {took['med']:.2f} ms", file=sys.stderr)
    dropped = metrics.get("dropped_iterations", {"count": 0})["count"]
    return Seen(rival.name, RATE, metrics["iterations"]["count"], dropped, took["med"], took["p(99)"])


def _asked(work: Workload) -> list[dict[str, Any]]:
    return [
        {
            "request": MessageToDict(PredictRequest.FromString(request)),
            "json": json.loads(http_body(request)),
            "score": float(answer[0]),
        }
        for request, answer in work.requests(1)
    ]


def _protoset() -> bytes:
    """Return the gateway's service with all that it names, as protoc would write it."""
    files = {file.name: file for file in _with_imports(prediction_service_pb2.DESCRIPTOR)}
    found = FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(found.file.add())
    return found.SerializeToString()


def _with_imports(file: FileDescriptor) -> Iterator[FileDescriptor]:
    for imported in file.dependencies:
        yield from _with_imports(imported)
    yield file
