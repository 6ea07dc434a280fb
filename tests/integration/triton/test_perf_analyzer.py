"""Triton's perf_analyzer takes the model service for any server of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import tritonclient.grpc.aio as client

from predictmesh.model.v1.runtime_pb2 import RUNTIME_STATE_READY
from services.model.versions import Artifact
from tests.support.model_process import ModelProcess, model_process
from tests.support.onnx_models import linear
from tests.support.perf_analyzer import perf_analyzer
from tests.support.triton import TritonServer


@pytest.fixture
async def service(server: TritonServer, tmp_path: Path) -> AsyncIterator[ModelProcess]:
    """A model service with `linear` in Triton, and in its own process behind that."""
    settings = {"triton": server.grpc, "triton_repository": server.repository}
    async with model_process(tmp_path / "service", **settings) as process:
        model = linear()
        process.upload(model)
        artifacts = (Artifact("triton", model.sha256), Artifact("onnx", model.sha256))
        process.publish(replace(model.version(), artifacts=artifacts))
        await process.settled(
            lambda reported: [RUNTIME_STATE_READY] * 2 == [status.state for status in reported],
        )
        yield process


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        pytest.param((), 1, id="calls"),
        pytest.param(("-b", "16", "--async"), 16, id="batches"),
        pytest.param(("--streaming", "--async"), 1, id="streams"),
    ],
)
async def test_it_measures_without_an_error(
    options: tuple[str, ...], rows: int, service: ModelProcess, tmp_path: Path
) -> None:
    """With one caller and with eight, all of whose calls are answered."""
    measured = await perf_analyzer(tmp_path, service.address, "m", *options)
    assert [1, 8] == [run.callers for run in measured]
    assert all(run.rows_per_second > 0 for run in measured), measured[0].output
    async with client.InferenceServerClient(service.address) as asked:
        [statistics] = (await asked.get_inference_statistics("m")).model_stats
    assert statistics.inference_stats.fail.count == 0
    assert statistics.inference_count == rows * statistics.inference_stats.success.count > 0
    compute = statistics.inference_stats
    # It gives up where these are not the same.
    assert compute.compute_input.count == compute.compute_infer.count == compute.compute_output.count
