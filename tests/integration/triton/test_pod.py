"""The command of the Triton in GPU pods, run on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

from services.cli.fetch import fetch
from services.cli.supervision import leash
from services.cli.supervision.ports import at
from services.cli.triton.launch import TritonPorts, launch, prepare, repository
from services.model.runtimes.triton import open_triton
from tests.support.onnx_models import linear
from tests.support.runtimes import INSTANCES, Loading
from tests.support.triton import STOP_LIMIT_S, installed_triton
from tests.support.waiting import eventually
from tests.worlds.ports import port_row

MANIFEST = Path(__file__).parents[3] / "deploy" / "kubernetes" / "overlays" / "gpu" / "triton.yaml"
# What a machine without NVIDIA's image needs besides.
LOCAL = ("--backend-directory", "--allow-gpu-metrics", "--pinned-memory-pool-byte-size")


def _command(directory: Path, ports: TritonPorts, pod: str) -> list[str]:
    """Return the container's arguments with the places of this machine."""
    [triton] = yaml.safe_load(MANIFEST.read_text())["spec"]["template"]["spec"]["initContainers"]
    places = {
        "/models": str(repository(directory)),
        "-port=8000": f"-port={ports.http}",
        "-port=8001": f"-port={ports.grpc}",
        "-port=8002": f"-port={ports.metrics}",
        "$(POD_NAME)": pod,
    }
    command: list[str] = triton["args"]
    for place, here in places.items():
        assert any(place in argument for argument in command)
        command = [argument.replace(place, here) for argument in command]
    return command


@contextmanager
def _running(directory: Path, ports: TritonPorts, pod: str) -> Iterator[subprocess.Popen[bytes]]:
    installation = installed_triton()
    prepare(installation, directory, ports)
    usual = launch(installation, directory, ports)
    path = os.pathsep.join([str(installation.binary.parent), usual.env["PATH"]])
    local = [argument for argument in usual.command if argument.startswith(LOCAL)]
    # On a leash: it ends with the tests however they end.
    command = [
        sys.executable,
        "-IS",
        str(Path(leash.__file__)),
        str(os.getpid()),
        *_command(directory, ports, pod),
        *local,
    ]
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(
            command, env={**usual.env, "PATH": path, "POD_NAME": pod}, stdout=log, stderr=log, process_group=0
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(STOP_LIMIT_S)


async def test_the_command_of_the_pod_serves_models(tmp_path: Path) -> None:
    """On loopback only, with shared memory of the pod's own; that of a former container has gone."""
    first = port_row(3)
    ports = TritonPorts(first, first + 1, first + 2)
    pod = f"model-{os.getpid()}-{first}"
    left = Path("/dev/shm", f"{pod}_left")
    left.write_bytes(b"left")
    with _running(tmp_path, ports, pod) as process:
        await eventually(lambda: _is_live(ports), within_s=30)
        assert not left.exists()
        async with open_triton(at(ports.grpc), repository(tmp_path), INSTANCES, load_timeout_s=30) as runtime:
            model = await Loading(runtime, tmp_path)(linear())
            assert "onnxruntime_onnx" == model.platform
            assert list(Path("/dev/shm").glob(f"{pod}_*"))
            await model.close()
        connections = psutil.Process(process.pid).net_connections()
        listening = {each.laddr[:2] for each in connections if each.status == psutil.CONN_LISTEN}
        hosts, heard = zip(*listening, strict=True)
        assert {"127.0.0.1"} == {host.removeprefix("::ffff:") for host in hosts}
        assert [ports.http, ports.grpc, ports.metrics] == sorted(heard)


def _is_live(ports: TritonPorts) -> bool:
    try:
        return fetch(at(ports.http), "/v2/health/live", 2)[0] == 200
    except OSError:
        return False
