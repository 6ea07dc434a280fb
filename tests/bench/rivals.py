"""What is measured, as real processes: the mesh or the monolith, with its definitions, and the ceiling."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import grpc

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse
from services.cli.supervision.ports import count
from services.cli.supervision.replicas import SCALED
from tests.bench.load import PREDICT
from tests.worlds.ports import port_row

START_LIMIT_S = 60
POLL_S = 0.01
_LOG_SHOWN = 2000


@dataclass(frozen=True)
class Rival:
    """Where it answers, and its processes by name of service (load generator and Valkey are not among them).

    `target` has commas between several gateways; `http` is the gateways' address for metrics; empty where it has none. `redis` is the store's URL where it is known.
    """

    name: str
    target: str
    http: str
    pids: dict[str, list[int]]
    features: str = ""
    speaks: Literal["Predict", "empty", "http"] = "Predict"
    redis: str = ""

    @property
    def all_pids(self) -> list[int]:
        """Every process of it."""
        return [pid for found in self.pids.values() for pid in found]


@contextmanager
def running_up(name: str, data: Path, *options: str, replicas: int = 1) -> Iterator[Rival]:
    """Run `predictmesh up` with so many processes of each service that may have several, and stop it at the end."""
    log = (data.parent / f"{name}.log").open("ab")
    counts = ",".join(f"{service}={replicas}" for service in SCALED) if replicas > 1 else ""
    command = [*_cli("up"), "--data", str(data), "--port-base", str(port_row(count(replicas))),
               "--log-level", "warning", "--replicas", counts, *options]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{name} did not start: {Path(log.name).read_text()[-_LOG_SHOWN:]}")
            ready = json.loads(line)
            pids = {service: found for service, found in ready["pids"].items() if service != "valkey"}
            if len({pid for found in pids.values() for pid in found}) == 1:
                pids = {"all in one": pids["gateway"]}
            yield Rival(name, ready["gateway"], ready["http"]["gateway"], pids, ready["features"], redis=ready["redis"])
        finally:
            process.terminate()
            process.wait(START_LIMIT_S)


def define(data: Path, workload: Path, *, values: bool = True, runtimes: Sequence[str] = ("onnx",)) -> None:
    """Tell a running `up` of `data` the workload's definitions, and its values unless they are there."""
    run("apply", "-f", str(workload / "views.yaml"), "--data", str(data))
    artifacts = [part for runtime in runtimes for part in ("--artifact", f"{runtime}={workload / 'model.onnx'}")]
    run("models", "register", "-f", str(workload / "version.yaml"), *artifacts, "--wait", "30s",
         "--data", str(data))  # fmt: skip
    run("apply", "-f", str(workload / "endpoint.yaml"), "--data", str(data))
    for file in workload.glob("*.csv") if values else ():
        run("features", "write", file.stem, "--file", str(file), "--event-time", "now", "--data", str(data))


@contextmanager
def ceiling() -> Iterator[Rival]:
    """Run the server whose one method does nothing."""
    port = port_row()
    with process("tests.bench.ceiling", dict(os.environ), str(port)) as pid:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(START_LIMIT_S)
        yield Rival("ceiling", f"127.0.0.1:{port}", "", {"server": [pid]}, speaks="empty")


@contextmanager
def process(module: str, environment: dict[str, str], *arguments: str) -> Iterator[int]:
    """Run a module until the end of the context; gives its process."""
    with subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment) as process:
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(START_LIMIT_S)


def await_answer(target: str, request: bytes) -> None:
    """Return when `target` has answered a Predict; TimeoutError after a minute."""
    until = time.monotonic() + START_LIMIT_S
    with grpc.insecure_channel(target) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, PredictResponse] = channel.unary_unary(
            PREDICT, None, PredictResponse.FromString
        )
        while time.monotonic() < until:
            try:
                call(request, timeout=1)
            except grpc.RpcError:
                time.sleep(POLL_S)
            else:
                return
    raise TimeoutError(f"{target} has not answered {PredictRequest.FromString(request).endpoint}")


def start_to_answer(data: Path, request: bytes) -> float:
    """Return the seconds from starting `up` on a data directory with definitions to its first answer."""
    start = time.monotonic()
    with running_up("start", data) as rival:
        await_answer(rival.target, request)
        return time.monotonic() - start


def memory_mib(pids: Sequence[int]) -> float:
    """Return the proportional set size of processes: what they have, with shared pages split."""
    total = 0
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


def _cli(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "services.cli", *arguments]


def run(*arguments: str, timeout_s: float = START_LIMIT_S) -> None:
    """Run a command of `predictmesh` to its good end."""
    subprocess.run(_cli(*arguments), check=True, capture_output=True, timeout=timeout_s)
