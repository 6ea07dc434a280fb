"""A service as a process: it starts, says when it is ready, drains on a signal, and ends with a code that tells why."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh.errors import Code, MeshError
from tests.support.probe import remote
from tests.support.waiting import eventually

LIMIT_S = 30
ROOT = Path(__file__).parents[3]


async def start(**settings: object) -> Process:
    """Start the process with settings from the environment."""
    chosen = {"GRPC_PORT": 0, "HTTP_PORT": 0} | settings
    variables = {f"PREDICTMESH_PROBE_{name}": str(value) for name, value in chosen.items()}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.probe_process",
        cwd=ROOT,
        env=os.environ | variables,
        stdout=PIPE,
        stderr=PIPE,
    )


class Running:
    """A process that listens."""

    def __init__(self, process: Process, grpc: str, http: str) -> None:
        self.process = process
        self.grpc = grpc
        self.http = http

    async def get(self, path: str) -> tuple[int, Any]:
        """Ask its HTTP port."""
        return await asyncio.to_thread(self._get, path)

    def _get(self, path: str) -> tuple[int, Any]:
        connection = HTTPConnection(self.http, timeout=LIMIT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def signal(self) -> None:
        """Ask it to stop."""
        self.process.send_signal(signal.SIGTERM)

    async def wait(self) -> int:
        """Return its exit code."""
        async with asyncio.timeout(LIMIT_S):
            return await self.process.wait()


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[Running]:
    """Run the process for the time of the context, and read where it listens from its log."""
    process = await start(**settings)
    try:
        assert process.stderr is not None
        async with asyncio.timeout(LIMIT_S):
            # What gRPC itself says there is no JSON.
            while b'"listening"' not in (line := await process.stderr.readline()):
                assert line, "ended before it listened"
        entry = json.loads(line)
        yield Running(process, entry["grpc"], entry["http"])
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def call_under_way(service: Running, directory: Path) -> AsyncIterator[tuple[asyncio.Task[Any], Path]]:
    """Make a call that ends when the file exists, and yield it with the file once it has begun."""
    begun, end = directory / "begun", directory / "end"
    async with remote(service.grpc) as stub:
        request = registry_pb.ApplyRequest(expected_revision=4, actor=str(begun), reason=str(end))
        call = asyncio.create_task(stub.Apply(request, timeout=60))
        await eventually(begun.exists, within_s=LIMIT_S)
        yield call, end
        await asyncio.gather(call, return_exceptions=True)


async def test_signal_drains_the_calls_under_way(tmp_path: Path) -> None:
    """From ready over draining to the end: the call under way is answered, and the process exits with 0."""
    async with running(DRAIN_DELAY_S=0.5) as service:
        assert (200, {"ready": True, "reason": ""}) == await service.get("/readyz")
        _, status = await service.get("/statusz")
        assert ("probe", True, 42, service.process.pid) == tuple(
            status[key] for key in ("name", "ready", "answers", "pid")
        )
        async with call_under_way(service, tmp_path) as (call, end):
            service.signal()

            async def until_draining() -> tuple[int, Any]:
                while (answer := await service.get("/readyz"))[0] == 200:
                    pass
                return answer

            async with asyncio.timeout(LIMIT_S):
                assert (503, {"ready": False, "reason": "draining"}) == await until_draining()
            assert (200, {"alive": True}) == await service.get("/healthz")
            assert not call.done()
            end.touch()
            assert 5 == (await call).revision
        assert 0 == await service.wait()


async def test_call_that_outlasts_the_grace_is_ended(tmp_path: Path) -> None:
    """Draining has a limit, and the process still exits with 0."""
    async with running(GRACE_S=0.3) as service, call_under_way(service, tmp_path) as (call, _):
        service.signal()
        with pytest.raises(MeshError) as error:
            await call
        assert error.value.code in {Code.UNAVAILABLE, Code.CANCELLED}
        assert 0 == await service.wait()


async def test_second_signal_exits_at_once(tmp_path: Path) -> None:
    """Whoever signals twice does not wait for the drain."""
    async with running(DRAIN_DELAY_S=3600) as service, call_under_way(service, tmp_path):
        service.signal()
        while (await service.get("/readyz"))[0] == 200:
            pass
        service.signal()
        assert 1 == await service.wait()


@pytest.mark.parametrize("setting", ["GRPC_PORT", "HTTP_PORT"])
async def test_taken_port_is_one_line_and_exit_code_2(setting: str) -> None:
    """A process that cannot listen says where, and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await start(**{setting: port})
        async with asyncio.timeout(LIMIT_S):
            _, said = await process.communicate()
    lines = [line for line in said.decode().splitlines() if line.startswith("error:")]
    assert 2 == process.returncode
    assert 1 == len(lines)
    assert f"127.0.0.1:{port}" in lines[0]
    assert "Traceback" not in said.decode()


async def test_unknown_variable_is_one_line_and_exit_code_2() -> None:
    """A setting that nobody reads stops the start."""
    process = await start(NOPE=1)
    async with asyncio.timeout(LIMIT_S):
        _, said = await process.communicate()
    assert (2, 1) == (process.returncode, len(said.decode().splitlines()))
    assert "PREDICTMESH_PROBE_NOPE" in said.decode()


@pytest.mark.parametrize(("fault", "code"), [("setting", 2), ("peer", 1)])
async def test_service_that_cannot_be_built_is_one_line(fault: str, code: int) -> None:
    """What a service refuses while it starts is told without a traceback; exit code 2 if a setting is to blame."""
    process = await start(FAULT=fault)
    async with asyncio.timeout(LIMIT_S):
        _, said = await process.communicate()
    assert (code, [f"error: a fault of the {fault}"]) == (process.returncode, said.decode().splitlines())
