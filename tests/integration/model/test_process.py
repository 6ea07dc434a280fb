"""The model service as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from services.mesh.objects import SNAPSHOT, artifact_path
from services.model.versions import Version
from tests.support.model_process import ones
from tests.support.onnx_models import OnnxModel, linear
from tests.support.snapshots import snapshot
from tests.support.waiting import eventually_answers

# Four services without Triton may take 400 MiB; this is the one with ONNX Runtime in it.
MEMORY_MIB = 110


@dataclass(frozen=True)
class Running:
    """A process that listens at `address`."""

    process: asyncio.subprocess.Process
    address: str

    def memory_mib(self) -> float:
        """Return its share of memory (PSS), in MiB."""
        return float(psutil.Process(self.process.pid).memory_full_info().pss) / 2**20


def _store(directory: Path, models: list[OnnxModel], versions: list[Version]) -> None:
    objects = directory / "objects"
    contents = {artifact_path(model.sha256): model.content for model in models}
    contents[SNAPSHOT] = snapshot(1, versions).SerializeToString()
    for path, content in contents.items():
        (objects / path).parent.mkdir(parents=True, exist_ok=True)
        (objects / path).write_bytes(content)


@asynccontextmanager
async def _running(directory: Path) -> AsyncIterator[Running]:
    environment = {
        **os.environ,
        "PREDICTMESH_MODEL_GRPC_PORT": "0",
        "PREDICTMESH_MODEL_HTTP_PORT": "0",
        "PREDICTMESH_MODEL_DATA_DIR": str(directory / "data"),
        "PREDICTMESH_MODEL_OBJECTS": f"file://{directory / 'objects'}",
        # Nobody listens there: the registry is down.
        "PREDICTMESH_MODEL_REGISTRY": "127.0.0.1:1",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.model", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(30):
            yield Running(process, await _address(process))
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert 0 == await _drained(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        entry = json.loads(line)
        if "grpc" in entry:
            return str(entry["grpc"])
    raise AssertionError("the process ended before it listened")


async def _drained(process: asyncio.subprocess.Process) -> int:
    await process.communicate()
    assert process.returncode is not None
    return process.returncode


async def test_it_starts_without_a_registry_and_without_object_storage(tmp_path: Path) -> None:
    """First by what object storage has, then by what it kept of that on its own disk; without both it says so."""
    model = linear(2)
    _store(tmp_path, [model], [model.version()])
    for storage in ("there", "gone"):
        if storage == "gone":
            (tmp_path / "objects" / artifact_path(model.sha256)).unlink()
        async with _running(tmp_path) as running, triton.InferenceServerClient(running.address) as client:
            await eventually_answers(client.is_server_ready)
            assert [[32]] == (await client.infer("m", [ones(1)])).as_numpy("y").tolist()
    shutil.rmtree(tmp_path / "data")
    async with _running(tmp_path) as running, triton.InferenceServerClient(running.address) as client:
        await eventually_answers(client.is_server_ready)
        with pytest.raises(InferenceServerException, match="no version of 'm' is ready here"):
            await client.infer("m", [ones(1)])


async def test_its_memory_stays_within_the_budget(tmp_path: Path) -> None:
    """With twenty small models, and after calls of every size."""
    models = [linear(scale) for scale in range(1, 21)]
    _store(tmp_path, models, [model.version(f"m{index}") for index, model in enumerate(models)])
    async with _running(tmp_path) as running, triton.InferenceServerClient(running.address) as client:
        await eventually_answers(client.is_server_ready)
        for rows in (1, 17, 256, 4096):
            for index in range(20):
                await client.infer(f"m{index}", [ones(rows)])
        assert running.memory_mib() < MEMORY_MIB
