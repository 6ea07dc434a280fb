"""Inference calls end when their time is over."""

from __future__ import annotations

from pathlib import Path

import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from predictmesh.model.v1 import runtime_pb2
from tests.support.model_process import model_process, ones, states
from tests.support.onnx_models import deep

READY = runtime_pb2.RUNTIME_STATE_READY


async def test_a_call_without_a_deadline_has_the_default_one(tmp_path: Path) -> None:
    """A caller who sets none waits for the service's own limit; one who sets it gets what it asks for."""
    model = deep()
    async with (
        model_process(tmp_path, default_timeout_ms=2, max_batch_rows=64) as process,
        triton.InferenceServerClient(process.address) as client,
    ):
        process.upload(model)
        process.publish(model.version())
        await process.settled(lambda reported: states(reported) == {"m@1.0.0": READY})
        with pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
            await client.infer("m", [ones(1024)])
        assert 1024 == len((await client.infer("m", [ones(1024)], client_timeout=30)).as_numpy("y"))
        with pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
            await client.infer("m", [ones(1024)], client_timeout=0.005)
