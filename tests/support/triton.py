"""A real Triton for tests, on free ports: killed, suspended and restarted as the test wants.

    async with triton_server(tmp_path) as server:
        settings = {"triton": server.grpc, "triton_repository": server.repository, "triton_metrics": server.metrics}
        server.kill()
        await server.restart()

It starts in half a second without a model, so a test may have one of its own; a module may share one (the directory
from `tmp_path_factory`). Where no Triton is installed the test is skipped, or fails under CI=true.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.cli.fetch import fetch
from services.cli.supervision import leash
from services.cli.supervision.ports import at
from services.cli.triton.errors import NoTriton
from services.cli.triton.installation import Installation, find
from services.cli.triton.launch import TritonPorts, forget_shared_memory, launch, prepare, repository
from tests.parts import lacking
from tests.support.waiting import eventually
from tests.worlds.ports import port_row

READY_LIMIT_S = 30.0
STOP_LIMIT_S = 15.0


@dataclass
class TritonServer:
    """A running server: addresses as HOST:PORT, the repository that it loads models from, and its log."""

    installation: Installation
    directory: Path
    ports: TritonPorts
    otlp_url: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def grpc(self) -> str:
        """Where it answers the Open Inference Protocol."""
        return at(self.ports.grpc)

    @property
    def http(self) -> str:
        """Where it answers the same over HTTP."""
        return at(self.ports.http)

    @property
    def metrics(self) -> str:
        """Where it answers /metrics."""
        return at(self.ports.metrics)

    @property
    def repository(self) -> Path:
        """The directory that it loads models from."""
        return repository(self.directory)

    @property
    def log(self) -> Path:
        """The file of all that it has said."""
        return self.directory / "log"

    async def start(self) -> None:
        """Start it without a model and wait until it is ready; its log where it is not within the limit."""
        prepare(self.installation, self.directory, self.ports)
        made = launch(self.installation, self.directory, self.ports, otlp_url=self.otlp_url)
        with self.log.open("ab") as log:
            # On a leash: it ends with the tests however they end.
            command = [sys.executable, "-IS", str(Path(leash.__file__)), str(os.getpid()), *made.command]
            self.process = subprocess.Popen(  # noqa: ASYNC220 - quick, and kept for `kill`, which needs no loop
                command, env=made.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        try:
            await eventually(self._is_ready, within_s=READY_LIMIT_S)
        except TimeoutError:
            self.kill()
            raise AssertionError(f"Triton was not ready within {READY_LIMIT_S:g} s:\n{self.log.read_text()}") from None

    def kill(self) -> None:
        """End it as a crash would; its Python processes go with it."""
        assert self.process is not None
        stubs = self.stubs()
        self.process.kill()
        self.process.wait(STOP_LIMIT_S)
        for stub in stubs:
            with contextlib.suppress(psutil.NoSuchProcess):
                stub.kill()

    async def stop(self) -> None:
        """End it as an operator would; killed where that takes too long."""
        assert self.process is not None
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            await asyncio.to_thread(self.process.wait, STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    async def restart(self) -> None:
        """Kill it if it runs, and start it at the same ports; no model is loaded then."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        await self.start()

    def suspend(self) -> None:
        """Stop it from running at all (SIGSTOP): it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    @contextlib.contextmanager
    def stop_cont(self) -> Iterator[None]:
        """Suspend it for the time of the context."""
        self.suspend()
        try:
            yield
        finally:
            self.resume()

    def stubs(self) -> list[psutil.Process]:
        """Return its Python processes: one a version and instance. Triton does not restart one that dies."""
        assert self.process is not None
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return fetch(self.http, "/v2/health/ready", 2)[0] == 200
        except OSError:
            return False


def installed_triton() -> Installation:
    """Return the Triton of this machine; without one the test is skipped, or fails under CI=true."""
    try:
        return find()
    except NoTriton as error:
        lacking(error.message)


@asynccontextmanager
async def triton_server(directory: Path, *, otlp_url: str = "") -> AsyncIterator[TritonServer]:
    """Run a server for the time of the context; its repository, backends and log lie in `directory`."""
    first = port_row(3)
    server = TritonServer(installed_triton(), directory, TritonPorts(first, first + 1, first + 2), otlp_url)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        await server.start()
        yield server
    finally:
        if server.process is not None:
            # It does not end while it is suspended.
            if server.process.poll() is None:
                server.resume()
            await server.stop()
        forget_shared_memory(server.ports)
