"""A `predictmesh up` of the demo's own: on fresh data, on free ports, ended with the demo."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.cli.errors import Failure, Mistake
from services.cli.supervision import leash
from services.cli.supervision.options import TopologyName
from services.cli.supervision.ports import check_free, choose
from services.cli.supervision.state import owned
from services.cli.triton.choice import TritonMode

_STOP_S = 60.0
# Away from the default ports of `up`, and each with room for all that it takes.
_BASES = range(52_051, 60_051, 50)
_FAILED_LINES = 5
# An hour of the replay is a fraction of a second, so that what happens each second elsewhere happens more often here.
_PACE = {"PREDICTMESH_GATEWAY_REPORT_INTERVAL_S": "0.05", "PREDICTMESH_REGISTRY_RELEASE_INTERVAL_S": "0.05"}


@dataclass(frozen=True)
class Running:
    """Where `up` runs: its data directory and log, and its readiness line."""

    process: subprocess.Popen[bytes]
    data: Path
    log: Path
    line: dict[str, object]


def reset(data: Path) -> None:
    """Remove what earlier services have stored under `data`. Mistake if some still run on it."""
    with owned(data):
        for entry in data.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)


@contextmanager
def running(
    data: Path, topology: TopologyName, port_base: int | None, triton: TritonMode = "auto"
) -> Iterator[Running]:
    """Run the services for the time of the context. Failure with the end of their log if they do not get ready."""
    log = data / "up.log"
    command = [sys.executable, "-m", "services.cli", "up", "--data", str(data), "--topology", topology]
    command += ["--port-base", str(port_base or _free_base()), "--triton", triton]
    with log.open("wb") as output:
        # Killed with the demo; and in a group of its own, as Ctrl-C in the terminal is for the demo to handle.
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-IS", str(Path(leash.__file__)), str(os.getpid()), *command],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            process_group=0,
        )
    with process:
        try:
            yield Running(process, data, log, _await_line(process, log))
        finally:
            _stop(process)


def _environment() -> dict[str, str]:
    """Return the environment, but for what would take the spans away from the embedded receiver, at the demo's pace."""
    return _PACE | {name: value for name, value in os.environ.items() if name != "OTEL_EXPORTER_OTLP_ENDPOINT"}


def _await_line(process: subprocess.Popen[bytes], log: Path) -> dict[str, object]:
    assert process.stdout is not None
    text = process.stdout.readline()
    if not text:
        end = " / ".join(log.read_text(errors="replace").splitlines()[-_FAILED_LINES:])
        raise Failure(f"the services did not start: {end} (all of their log: {log})")
    line: dict[str, object] = json.loads(text)
    return line


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _free_base() -> int:
    for base in _BASES:
        ports = choose(base)
        try:
            check_free({str(number): number for number in ports.all()})
        except Mistake:
            continue
        return base
    raise Failure("no free ports (--port-base names some)")
