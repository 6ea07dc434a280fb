"""The processes of a mesh, one by one: a test may kill any of them and start it again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.valkey import Valkey, valkey
from tests.worlds.mesh import Addresses
from tests.worlds.ports import port_row
from tests.worlds.sandbox import eventually

START_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0


@dataclass
class Part:
    """One service process. It keeps its ports and its data over a restart. `variables` are added to its environment."""

    service: str
    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    grpc_port: int = field(default_factory=port_row)
    http_port: int = field(default_factory=port_row)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it answers gRPC."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.up:
            return
        self.directory.mkdir(exist_ok=True)
        settings = {
            "grpc_port": str(self.grpc_port),
            "http_port": str(self.http_port),
            "data_dir": str(self.directory),
            "grace_s": "5",
            **self.settings,
        }
        told = {f"PREDICTMESH_{self.service}_{name}".upper(): value for name, value in settings.items()}
        with (self.directory.parent / f"{self.directory.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"services.{self.service}"],
                env={**os.environ, **told, **self.variables},
                stdout=log,
                stderr=log,
            )

    async def until_ready(self) -> None:
        """Wait until it says that it is ready; a machine with much else to do takes its time."""

        async def ready() -> bool:
            assert self.up, f"{self.directory.name} has ended"
            return bool(await asyncio.to_thread(self._get, "readyz"))

        await eventually(ready, f"{self.directory.name} ready", START_LIMIT_S)

    async def calls(self, method: str) -> float:
        """Return how many calls of a method it has answered since it was started."""
        line = f'rpc_server_call_duration_seconds_count{{.*rpc_method="{method}",rpc_status_code="OK".*}} (.*)'
        found = re.search(line, await asyncio.to_thread(self._get, "metrics"))
        return float(found[1]) if found else 0.0

    async def until_called(self, method: str) -> None:
        """Wait until it has answered a call of a method since it was started."""

        async def called() -> bool:
            return await self.calls(method) > 0

        # It may still be starting.
        await eventually(called, f"{self.directory.name} called", START_LIMIT_S)

    def metrics(self) -> str:
        """Return its metrics, as Prometheus reads them."""
        return self._get("metrics")

    def _get(self, page: str) -> str:
        """Return what its HTTP port shows; nothing while it is not ready, or not there."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/{page}", timeout=5) as answer:
                return bytes(answer.read()).decode()
        except OSError:
            return ""

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator does; TimeoutExpired where it had to be killed."""
        self._end(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, and do not wait."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        self.send(number)
        if self.process is None:
            return
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@dataclass
class Parts:
    """A mesh of two feature and two model services, and one of the others."""

    directory: Path
    store: Valkey
    registry: Part
    features: list[Part]
    models: list[Part]
    gateway: Part

    @property
    def all(self) -> list[Part]:
        """Every service process."""
        return [self.registry, *self.features, *self.models, self.gateway]

    @property
    def addresses(self) -> Addresses:
        """Where to call them; each pair under one target."""
        return Addresses(self.gateway.address, _either(self.features), _either(self.models), self.registry.address)

    async def up(self) -> None:
        """Start what does not run, and wait until all is ready."""
        if self.store.process is None:
            self.store.start()
        for part in self.all:
            part.start()
        for part in self.all:
            await part.until_ready()


def _either(parts: list[Part]) -> str:
    return "ipv4:" + ",".join(part.address for part in parts)


def _laid_out(directory: Path, store: Valkey) -> Parts:
    objects = {"objects": f"file://{directory / 'objects'}"}
    registry = Part("registry", directory / "registry", objects)
    peers = {**objects, "registry": registry.address}
    features = [
        Part("features", directory / f"features-{number}", {**peers, "redis_url": store.url}) for number in (1, 2)
    ]
    models = [Part("model", directory / f"model-{number}", peers) for number in (1, 2)]
    targets = {"features": _either(features), "model": _either(models)}
    gateway = Part("gateway", directory / "gateway", {**peers, **targets})
    return Parts(directory, store, registry, features, models, gateway)


@contextmanager
def _stopped(parts: Parts) -> Iterator[None]:
    with ExitStack() as stack:
        for part in parts.all:
            stack.callback(part.stop)
        try:
            yield
        finally:
            for part in parts.all:
                part.send(signal.SIGTERM)


@asynccontextmanager
async def parts(directory: Path) -> AsyncIterator[Parts]:
    """Run the processes, and a store that keeps what it has written, for the time of the context."""
    with valkey("--appendonly", "yes", "--appendfsync", "everysec", port=port_row()) as store:
        made = _laid_out(directory, store)
        with _stopped(made):
            await made.up()
            yield made
