"""`predictmesh up` as its users run it: a process in the foreground that says on stdout when it is ready."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from services.cli.supervision.ports import count
from services.cli.triton.choice import TritonMode
from tests.worlds.mesh import Addresses
from tests.worlds.ports import port_row

READY_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0


@dataclass(frozen=True)
class Up:
    """A running `up` and its readiness line."""

    process: subprocess.Popen[str]
    line: Mapping[str, Any]

    @property
    def addresses(self) -> Addresses:
        """Where the services listen."""
        return Addresses(*(self.line[service] for service in ("gateway", "features", "model", "registry")))

    def stop(self) -> int:
        """Stop it as Ctrl-C does, and return its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_LIMIT_S)


def command(*arguments: str) -> list[str]:
    """The command line of `predictmesh`."""
    return [sys.executable, "-m", "services.cli", *arguments]


@contextmanager
def up(
    directory: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    triton: TritonMode = "off",
    replicas: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[Up]:
    """Run `predictmesh up` on free ports for the time of the context; what it logs is in `directory`/log."""
    base = port_row(count(max(replicas.values(), default=1)))
    line = command("up", "--data", str(directory / "data"), "--port-base", str(base), "--triton", triton)
    if replicas:
        line += ["--replicas", ",".join(f"{service}={number}" for service, number in replicas.items())]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [*line, *arguments], stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **(env or {})}
        )
    try:
        yield Up(process, _ready_line(process, directory / "log"))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(STOP_LIMIT_S)
        assert process.stdout is not None
        process.stdout.close()


def _ready_line(process: subprocess.Popen[str], log: Path) -> Mapping[str, Any]:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if selector.select(READY_LIMIT_S) and (text := process.stdout.readline()):
            found: Mapping[str, Any] = json.loads(text)
            return found
    process.kill()
    raise AssertionError(f"not ready; its log:\n{log.read_text()}")
