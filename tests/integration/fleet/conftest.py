"""An `up` in which every service that may have two processes has two."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from services.cli.fetch import fetch_json
from tests.support.onnx_models import linear
from tests.worlds.mesh import connect
from tests.worlds.resources import field, view
from tests.worlds.sandbox import Sandbox, eventually
from tests.worlds.traffic import Traffic, traffic
from tests.worlds.up import Up, command, up

RESTART_LIMIT_S = 240.0
OFFERED = 40.0
# A call that is lost takes as long to be missed. One that is only late, on a machine with much else to do, is not lost.
CALL_LIMIT_S = 30.0


@dataclass(frozen=True)
class Fleet:
    """A running `up` of several processes a service."""

    up: Up
    data: Path

    @property
    def at(self) -> tuple[str, str]:
        """The option that makes commands find it."""
        return "--data", str(self.data)

    def pids(self, service: str) -> Sequence[int]:
        """The processes of a service as they are now."""
        found: Sequence[int] = json.loads((self.data / "up.json").read_text())["pids"][service]
        return found

    def http(self, service: str) -> Sequence[str]:
        """Where the processes of a service answer HTTP."""
        addresses: str = self.up.line["http"][service]
        return addresses.split(",")

    async def restart(self, *arguments: str) -> tuple[int, str, str]:
        """Run `predictmesh restart`; return its exit code and what it has printed."""
        process = await asyncio.create_subprocess_exec(
            *command("restart", *arguments, *self.at), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(RESTART_LIMIT_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest.fixture(scope="package")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two gateways, two feature services, two model services."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PREDICTMESH_", "OTEL_"))]:
            patch.delenv(name)
        directory = tmp_path_factory.mktemp("fleet")
        with up(directory, "--log-level", "warning", replicas={"gateway": 2, "features": 2, "model": 2}) as running:
            yield Fleet(running, directory / "data")


@pytest_asyncio.fixture
async def own(fleet: Fleet) -> AsyncIterator[Sandbox]:
    """Endpoint `ride`, which both gateways answer: ten times the rider's number, as stored."""
    async with connect(fleet.up.addresses) as mesh:
        made = Sandbox(mesh)
        await made.view(view("rider", field("tens"), entity="rider", keys={"rider_id": "STRING"}))
        await made.serve("ride", linear(1.0, width=1), {"x": ["rider:tens"]})
        await made.until_runtime("ride", "1.0.0", processes=2)
        keys = {"rider_id": [f"r{number}" for number in range(10)]}
        await made.write("rider", keys, {"tens": [10.0 * number for number in range(10)]})
        await everywhere(fleet, f"{made.namespace}/ride")
        yield made


async def everywhere(fleet: Fleet, endpoint: str) -> None:
    """Wait until every gateway serves an endpoint."""

    async def served() -> bool:
        pages = [(await asyncio.to_thread(fetch_json, each, "/statusz", 5))[1] for each in fleet.http("gateway")]
        return all(endpoint in page["endpoints"] for page in pages)

    await eventually(served, f"{endpoint} at every gateway")


@asynccontextmanager
async def busy(own: Sandbox) -> AsyncIterator[Traffic]:
    """Call for the time of the context: some ask one after the other, and others at a rate, whatever the answers."""
    async with traffic(own, "ride", timeout_s=CALL_LIMIT_S) as calls:
        offering = asyncio.create_task(calls.offer(OFFERED))
        try:
            yield calls
        finally:
            offering.cancel()
            await asyncio.gather(offering, return_exceptions=True)
