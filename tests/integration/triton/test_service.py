"""The model service with its versions on Triton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as client

from predictmesh.model.v1 import runtime_pb2
from services.cli.fetch import fetch, fetch_json
from services.model.runtimes.triton_repository import triton_name
from services.model.versions import Artifact, Version
from tests.support.golden import golden_set
from tests.support.model_process import ModelProcess, model_process, ones, states
from tests.support.onnx_models import OnnxModel, linear
from tests.support.triton import TritonServer
from tests.support.triton_backends import holding
from tests.support.waiting import eventually

READY = {"m@1.0.0": runtime_pb2.RUNTIME_STATE_READY}


def _version(model: OnnxModel, digest: str = "") -> Version:
    return replace(model.version(digest=digest), artifacts=(Artifact("triton", model.sha256),))


@pytest.fixture
async def process(server: TritonServer, tmp_path: Path) -> AsyncIterator[ModelProcess]:
    """A model service on the shared Triton."""
    settings = {"triton": server.grpc, "triton_repository": server.repository, "triton_metrics": server.metrics}
    async with model_process(tmp_path, **settings) as started:
        yield started


async def test_versions_are_shown_by_their_runtime(process: ModelProcess) -> None:
    """Once they answer."""
    process.upload(linear())
    process.publish(_version(linear()))
    await process.settled(lambda reported: states(reported) == READY)
    _, status = await asyncio.to_thread(fetch_json, process.http_address, "/statusz", 5)
    assert [("m@1.0.0", "triton", "READY")] == [
        (each["version"], each["runtime"], each["state"].upper()) for each in status["versions"]
    ]
    async with client.InferenceServerClient(process.address) as asking:
        assert "onnxruntime_onnx" == (await asking.get_model_metadata("m")).platform
        assert 16 == (await asking.infer("m", [ones(1)])).as_numpy("y")[0, 0]


async def test_the_golden_set_is_run_on_triton_itself(process: ModelProcess) -> None:
    """As on any other runtime, and each runtime of a version for itself."""
    rows = np.arange(48, dtype=np.float32).reshape(3, 16)
    recorded = rows.sum(axis=1, keepdims=True)
    process.upload(linear())
    on_both = linear().version()
    [onnx] = on_both.artifacts
    on_both = replace(on_both, artifacts=(replace(onnx, runtime="triton"), onnx))
    good = process.with_golden(on_both, golden_set({"x": rows}, {"y": recorded}), relative_tolerance=1e-6)
    bad = process.with_golden(
        replace(_version(linear()), version="2.0.0"), golden_set({"x": rows}, {"y": recorded + np.float32(1)})
    )
    process.publish(good, bad)
    reported = await process.settled(
        lambda reported: len(reported) == 3 and {status.state for status in reported} == {READY["m@1.0.0"]}
    )
    passed, failed = runtime_pb2.GOLDEN_STATE_PASSED, runtime_pb2.GOLDEN_STATE_FAILED
    assert {("1.0.0", "triton"): passed, ("1.0.0", "onnx"): passed, ("2.0.0", "triton"): failed} == {
        (status.version, status.runtime): status.golden for status in reported
    }
    [message] = [status.golden_message for status in reported if status.golden_message]
    assert "output 'y', row 0, element [0]: recorded 121.0, computed 120.0; 3 of 3 elements differ" == message


async def test_tritons_metrics_are_told_among_ours(process: ModelProcess, server: TritonServer) -> None:
    """Under Triton's names; while it does not answer, only that it is not up."""
    process.upload(linear())
    process.publish(_version(linear()))
    await process.settled(lambda reported: states(reported) == READY)
    _, text = await asyncio.to_thread(fetch, process.http_address, "/metrics", 5)
    assert f'\nnv_inference_request_success{{model="{triton_name(linear().version())}",version="1"}} ' in text
    assert "\npredictmesh_triton_up 1.0\n" in text
    with server.stop_cont():
        _, text = await asyncio.to_thread(fetch, process.http_address, "/metrics", 5)
    assert "\npredictmesh_triton_up 0.0\n" in text
    assert "\nnv_" not in text


async def test_content_is_swapped_under_load_without_a_failed_call(process: ModelProcess, server: TritonServer) -> None:
    """Callers without a pause see every swap, and no error in between; nothing of the former contents is left."""
    models = {16.0 * scale: linear(scale) for scale in (1, 2, 3)}
    process.upload(*models.values())
    process.publish(_version(models[16.0]))
    await process.settled(lambda reported: states(reported) == READY)
    answers: list[float] = []
    stop = asyncio.Event()

    async with client.InferenceServerClient(process.address) as asking:

        async def call() -> None:
            while not stop.is_set():
                answers.append(float((await asking.infer("m", [ones(1)], "1.0.0")).as_numpy("y")[0, 0]))

        callers = [asyncio.create_task(call()) for _ in range(4)]
        for answer, model in [*models.items()] * 2:
            process.publish(_version(model))
            await eventually(partial(_ends_with, answers, answer), within_s=30)
        stop.set()
        await asyncio.gather(*callers)
    assert set(models) == set(answers)
    last = triton_name(_version(models[48.0]))
    await eventually(lambda: [last] == [path.name for path in server.repository.iterdir()])


def _ends_with(answers: list[float], wanted: float) -> bool:
    return answers[-1:] == [wanted]


async def test_a_corrupt_version_fails_alone(process: ModelProcess) -> None:
    """The others answer, and the message says what is wrong."""
    broken = OnnxModel(linear().content[:-40], linear().signature)
    process.upload(linear(), broken)
    process.publish(_version(linear()), replace(_version(broken), version="2.0.0"))
    wanted = READY | {"m@2.0.0": runtime_pb2.RUNTIME_STATE_FAILED}
    reported = await process.settled(lambda reported: states(reported) == wanted)
    assert "does not load the model" in next(each.message for each in reported if each.version == "2.0.0")
    async with client.InferenceServerClient(process.address) as asking:
        assert 16 == (await asking.infer("m", [ones(1)])).as_numpy("y")[0, 0]


async def test_a_caller_who_leaves_takes_his_batch_along(process: ModelProcess, tmp_path: Path) -> None:
    """Down to the backend in Triton, which is told that nobody waits for what it computes."""
    made = holding(tmp_path / "file")
    process.upload(made)
    process.publish(replace(made.version(), artifacts=(Artifact("triton", made.sha256, "python"),)))
    await process.settled(lambda reported: states(reported) == READY)
    twos = client.InferInput("x", [1, 16], "FP32")
    twos.set_data_from_numpy(np.full((1, 16), 2, np.float32))
    async with client.InferenceServerClient(process.address) as asking:
        call = asyncio.create_task(asking.infer("m", [twos], client_timeout=60))
        await eventually((tmp_path / "file.entered").exists)
        call.cancel()
        # Before its time is over, or anything else ends it.
        await eventually((tmp_path / "file.cancelled").exists, within_s=5)
