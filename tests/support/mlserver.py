"""A real MLServer for tests, on free ports, killed and restarted as the test wants.

It serves the model of `mlserver_models/lengths.py` twice: as `lengths`, version 3, which declares its tensors, and as
`bare`, which does not. It has an environment of its own, made by `make mlserver`; where there is none the test is skipped,
or fails under CI=true.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.cli.fetch import fetch
from services.cli.supervision import leash
from tests.parts import lacking
from tests.support import mlserver_models
from tests.support.valkey import wait_until
from tests.worlds.ports import port_row

ENVIRONMENT = Path(sys.prefix) / "mlserver"
READY_LIMIT_S = 30.0
STOP_LIMIT_S = 15.0
TENSORS = {
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "t", "datatype": "BYTES", "shape": [-1]},
    ],
    "outputs": [
        {"name": "y", "datatype": "FP32", "shape": [-1]},
        {"name": "k", "datatype": "INT64", "shape": [-1]},
    ],
}


@dataclass
class MlServer:
    """One server process; `directory` holds its settings, models and log. It keeps its ports over a restart."""

    directory: Path
    first_port: int = field(default_factory=lambda: port_row(3))
    process: subprocess.Popen[bytes] | None = None

    @property
    def grpc(self) -> str:
        """Where it answers the Open Inference Protocol, HOST:PORT."""
        return f"127.0.0.1:{self.first_port}"

    @property
    def _http(self) -> str:
        return f"127.0.0.1:{self.first_port + 1}"

    def start(self) -> None:
        """Start it and wait until its models are ready; fail if they are not within the limit."""
        # On a leash: it ends with the tests however they end.
        command = [sys.executable, "-IS", leash.__file__, str(os.getpid()), str(ENVIRONMENT / "bin" / "mlserver")]
        ours = ("PYTHON", "MLSERVER_", "OTEL_")
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "start", str(self.directory)], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._is_ready, "MLServer with its models", READY_LIMIT_S)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_LIMIT_S)

    def stop(self) -> None:
        """End it as an operator would; killed where that takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def write(self) -> None:
        """Write its settings and its models."""
        http, metrics = self.first_port + 1, self.first_port + 2
        settings = {"host": "127.0.0.1", "grpc_port": self.first_port, "http_port": http, "metrics_port": metrics}
        # In one process, so that whoever kills it has killed all of it.
        _write(self.directory / "settings.json", settings | {"parallel_workers": 0})
        for name, tensors in (("lengths", TENSORS), ("bare", {})):
            model = {"name": name, "implementation": "lengths.Lengths", "parameters": {"version": "3"}}
            (self.directory / name).mkdir(parents=True)
            _write(self.directory / name / "model-settings.json", model | tensors)
            source = Path(next(iter(mlserver_models.__path__))) / "lengths.py"
            (self.directory / name / source.name).write_text(source.read_text())

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()
        return fetch(self._http, "/v2/health/ready", 2)[0] == 200


def _write(file: Path, value: object) -> None:
    file.write_text(json.dumps(value))


@contextmanager
def mlserver(directory: Path) -> Iterator[MlServer]:
    """Run a server for the time of the context."""
    if not (ENVIRONMENT / "bin" / "mlserver").exists():
        lacking("MLServer is not installed: `make mlserver`")
    server = MlServer(directory)
    server.write()
    try:
        server.start()
        yield server
    finally:
        server.stop()
