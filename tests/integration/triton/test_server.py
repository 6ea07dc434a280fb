"""The Triton that other tests get can be disturbed in every way that they need."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import tritonclient.grpc as client
from tritonclient.utils import InferenceServerException

from tests.support.onnx_models import linear
from tests.support.triton import triton_server
from tests.support.triton_models import put, tensor
from tests.support.waiting import eventually

ONES = tensor("x", "FP32", [[1.0] * 16])


async def test_kill_and_restart(tmp_path: Path) -> None:
    """It comes back at the same ports, with the files it had and no model loaded; its Python processes are gone."""
    async with triton_server(tmp_path) as server:
        with client.InferenceServerClient(server.grpc) as triton:
            put(server, "m", linear())
            triton.load_model("m")
            (stub,) = server.stubs()
            server.kill()
            await eventually(lambda: not stub.is_running() or stub.status() == psutil.STATUS_ZOMBIE)
            await server.restart()
            assert not triton.is_model_ready("m")
            triton.load_model("m")
            assert [[16.0]] == triton.infer("m", [ONES]).as_numpy("y").tolist()
    assert [] == list(Path("/dev/shm").glob(f"{server.ports.shared_memory_prefix}*"))


async def test_suspended(tmp_path: Path) -> None:
    """It answers nothing, and goes on where it was."""
    async with triton_server(tmp_path) as server:
        with client.InferenceServerClient(server.grpc) as triton:
            put(server, "m", linear())
            triton.load_model("m")
            with server.stop_cont(), pytest.raises(InferenceServerException, match="Deadline Exceeded"):
                triton.infer("m", [ONES], client_timeout=0.3)
            assert [[16.0]] == triton.infer("m", [ONES]).as_numpy("y").tolist()


async def test_left_suspended(tmp_path: Path) -> None:
    """A test that leaves it suspended leaves none behind."""
    async with triton_server(tmp_path) as server:
        server.suspend()
    assert server.process is not None
    assert server.process.returncode is not None


async def test_left_killed(tmp_path: Path) -> None:
    """A test that kills it and its Python processes at once leaves no shared memory."""
    async with triton_server(tmp_path) as server:
        with client.InferenceServerClient(server.grpc) as triton:
            put(server, "m", linear())
            triton.load_model("m")
        server.kill()
    assert [] == list(Path("/dev/shm").glob(f"{server.ports.shared_memory_prefix}*"))
