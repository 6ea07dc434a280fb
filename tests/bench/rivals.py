"""What is measured: the mesh, the monolith, the mesh without coalescing, and the ceiling; each as real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse
from services.cli.supervision.topology import GRPC
from tests.bench.load import PREDICT

START_LIMIT_S = 60
POLL_S = 0.01
VIEWS = ("rider", "driver", "zone")


@dataclass(frozen=True)
class Rival:
    """Where it answers, and its processes by name of service (load generator and Valkey are not among them).

    `http` is the gateway's port for metrics; the ceiling has none.
    """

    name: str
    target: str
    http: str
    pids: dict[str, list[int]]
    features: str = ""


@contextmanager
def running_up(name: str, data: Path, *options: str) -> Iterator[Rival]:
    """Run `predictmesh up` and stop it at the end."""
    log = (data.parent / f"{name}.log").open("ab")
    command = [*_cli("up"), "--data", str(data), "--port-base", str(_free_ports()), "--log-level", "warning", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{name} did not start; see {log.name}")
            ready = json.loads(line)
            pids = {service: found for service, found in ready["pids"].items() if service != "valkey"}
            if len({pid for found in pids.values() for pid in found}) == 1:
                pids = {"all in one": pids["gateway"]}
            yield Rival(name, ready["gateway"], ready["http"]["gateway"], pids, ready["features"])
        finally:
            process.terminate()
            process.wait(START_LIMIT_S)


def define(data: Path, workload: Path) -> None:
    """Tell a running `up` of `data` the workload's definitions and values."""
    _run("apply", "-f", str(workload / "views.yaml"), "--data", str(data))
    artifact = f"onnx={workload / 'model.onnx'}"
    _run("models", "register", "-f", str(workload / "version.yaml"), "--artifact", artifact, "--wait", "30s",
         "--data", str(data))  # fmt: skip
    _run("apply", "-f", str(workload / "endpoint.yaml"), "--data", str(data))
    for view in VIEWS:
        _run("features", "write", view, "--file", str(workload / f"{view}.csv"), "--event-time", "now",
             "--data", str(data))  # fmt: skip


@contextmanager
def naive(mesh: Rival, data: Path) -> Iterator[Rival]:
    """Run a gateway that does not coalesce in front of the services of `mesh`."""
    with gateway("naive mesh", "tests.bench.naive_gateway", mesh, data) as rival:
        yield rival


@contextmanager
def gateway(name: str, module: str, mesh: Rival, data: Path, *, model: str = "") -> Iterator[Rival]:
    """Run another gateway before the services of `mesh`, whose `up` keeps its state in `data`; `model` is another model service."""
    up = json.loads((data / "up.json").read_text())
    grpc_port, http_port = _free_ports(), _free_ports()
    environment = (
        os.environ
        | GRPC
        | {
            "PREDICTMESH_GATEWAY_GRPC_PORT": str(grpc_port),
            "PREDICTMESH_GATEWAY_HTTP_PORT": str(http_port),
            "PREDICTMESH_GATEWAY_DATA_DIR": str(data.parent / module.rpartition(".")[2]),
            "PREDICTMESH_GATEWAY_OBJECTS": f"file://{data / 'objects'}",
            "PREDICTMESH_GATEWAY_REGISTRY": up["registry"],
            "PREDICTMESH_GATEWAY_FEATURES": up["features"],
            "PREDICTMESH_GATEWAY_MODEL": model or up["model"],
            "PREDICTMESH_GATEWAY_LOG_LEVEL": "error",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{up['traces']['otlp']}",
        }
    )
    with _process(module, environment) as pid:
        target, http = f"127.0.0.1:{grpc_port}", f"127.0.0.1:{http_port}"
        yield Rival(name, target, http, mesh.pids | {"gateway": [pid]})


@contextmanager
def ceiling() -> Iterator[Rival]:
    """Run the server whose one method does nothing."""
    port = _free_ports()
    with _process("tests.bench.ceiling", dict(os.environ), str(port)) as pid:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(START_LIMIT_S)
        yield Rival("ceiling", f"127.0.0.1:{port}", "", {"server": [pid]})


@contextmanager
def _process(module: str, environment: dict[str, str], *arguments: str) -> Iterator[int]:
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


def _run(*arguments: str) -> None:
    subprocess.run(_cli(*arguments), check=True, capture_output=True, timeout=START_LIMIT_S)


def _free_ports() -> int:
    """Return a port that is free, and those above it most probably, too."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1]) % 20_000 + 20_000
