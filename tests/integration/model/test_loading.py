"""The model service follows the registry while it answers."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from predictmesh.model.v1 import model_service_pb2, runtime_pb2
from predictmesh.model.v1.model_service_pb2_grpc import ModelServiceStub
from services.mesh.objects import artifact_path
from services.model.versions import Signature, TensorSpec
from tests.support.golden import golden_set
from tests.support.model_process import model_process, ones, states
from tests.support.onnx_models import OnnxModel, deep, linear
from tests.support.waiting import eventually

READY = runtime_pb2.RUNTIME_STATE_READY
FAILED = runtime_pb2.RUNTIME_STATE_FAILED
NOT_RUN = runtime_pb2.GOLDEN_STATE_UNSPECIFIED
PASSED = runtime_pb2.GOLDEN_STATE_PASSED
NOT_PASSED = runtime_pb2.GOLDEN_STATE_FAILED


def _ends_with(answers: list[float], wanted: float) -> bool:
    return answers[-1:] == [wanted]


async def test_content_is_swapped_under_load_without_a_failed_call(tmp_path: Path) -> None:
    """Eight callers without a pause see thirty swaps, and no error in between."""
    async with (
        model_process(tmp_path) as process,
        triton.InferenceServerClient(process.address) as client,
    ):
        models = {16.0 * scale: linear(scale) for scale in (1, 2, 3)}
        process.upload(*models.values())
        process.publish(models[16.0].version())
        await process.settled(lambda reported: states(reported) == {"m@1.0.0": READY})
        answers: list[float] = []
        stop = asyncio.Event()

        async def call() -> None:
            while not stop.is_set():
                answers.append(float((await client.infer("m", [ones(1)], "1.0.0")).as_numpy("y")[0, 0]))

        callers = [asyncio.create_task(call()) for _ in range(8)]
        for answer, model in [*models.items()] * 10:
            process.publish(model.version())
            await eventually(partial(_ends_with, answers, answer))
        stop.set()
        await asyncio.gather(*callers)
        assert set(models) == set(answers)
        changes = sum(before != after for before, after in pairwise(answers))
        assert changes >= 29


async def test_a_version_is_removed_under_load_without_losing_a_call_under_way(tmp_path: Path) -> None:
    """Slow calls that have begun are answered; later ones are told that the version is gone."""
    wide = deep()
    async with (
        model_process(tmp_path, max_batch_rows=64) as process,
        triton.InferenceServerClient(process.address) as client,
    ):
        process.upload(wide)
        process.publish(wide.version())
        await process.settled(lambda reported: states(reported) == {"m@1.0.0": READY})
        calls = [asyncio.create_task(client.infer("m", [ones(512)])) for _ in range(4)]
        servicer = process.service.servicers[0].servicer
        serving = servicer._engine.find("m", "")  # type: ignore[attr-defined]
        await eventually(lambda: serving.counters.rows_in_flight >= 4 * 512)
        process.publish()
        answers = await asyncio.gather(*calls)
        assert [512] * 4 == [len(answer.as_numpy("y")) for answer in answers]
        await process.settled(lambda reported: states(reported) == {})
        with pytest.raises(InferenceServerException, match="no model 'm'"):
            await client.infer("m", [ones(1)])


async def test_bad_versions_say_why_and_the_others_answer(tmp_path: Path) -> None:
    """Corrupt, falsified, mislabelled, absent: each has its message, and none disturbs the good one."""
    good, corrupt, falsified, absent = linear(1), OnnxModel(b"no model", linear().signature), linear(2), linear(3)
    wrong = Signature((TensorSpec("x", "FP64", (16,)),), (TensorSpec("y", "FP32", (2,)), TensorSpec("q", "INT8", ())))
    mislabelled = OnnxModel(linear(4).content, wrong)
    async with (
        model_process(tmp_path) as process,
        triton.InferenceServerClient(process.address) as client,
    ):
        process.upload(good, corrupt, falsified, mislabelled)
        (process.objects / artifact_path(falsified.sha256)).write_bytes(b"other bytes")
        process.publish(
            good.version("good"), corrupt.version("corrupt"), falsified.version("falsified"),
            mislabelled.version("mislabelled"), absent.version("absent"),
        )  # fmt: skip
        reported = await process.settled(lambda reported: sorted(states(reported).values()) == [READY] + [FAILED] * 4)
        messages = {status.model: status.message for status in reported}
        assert "" == messages["good"]
        assert "ONNX Runtime does not load the model" in messages["corrupt"]
        assert "bytes of digest" in messages["falsified"]
        assert "object storage has no artifact" in messages["absent"]
        for part in ("'x' is FP32 in the model, FP64", "rows of [1] in the model, [2]", "no output 'q'"):
            assert part in messages["mislabelled"]
        assert [[16]] == (await client.infer("good", [ones(1)])).as_numpy("y").tolist()
        with pytest.raises(InferenceServerException, match="not ready here"):
            await client.infer("corrupt", [ones(1)], "1.0.0")
        assert "" == process.service.ready()
        process.upload(falsified, absent)
        await process.settled(lambda reported: list(states(reported).values()).count(READY) == 3)


async def test_a_registry_that_is_down_disturbs_no_call(tmp_path: Path) -> None:
    """Reports are lost until it is back, answers are not."""
    async with (
        model_process(tmp_path) as process,
        triton.InferenceServerClient(process.address) as client,
    ):
        model = linear(1)
        process.upload(model)
        process.publish(model.version())
        await process.settled(lambda reported: states(reported) == {"m@1.0.0": READY})
        process.registry.down = True
        process.publish(model.version(), model.version("m", "2.0.0"))
        await eventually(lambda: len(process.service.status()["versions"]) == 2)  # type: ignore[arg-type]
        for _ in range(20):
            assert [[16]] == (await client.infer("m", [ones(1)])).as_numpy("y").tolist()


async def test_a_slow_model_is_swapped_without_wrong_answers(tmp_path: Path) -> None:
    """Batches in threads end on the content that they began with."""
    old, new = deep(layers=2), deep(layers=1)
    async with (
        model_process(tmp_path) as process,
        triton.InferenceServerClient(process.address) as client,
    ):
        process.upload(old, new)
        process.publish(old.version())
        await process.settled(lambda reported: states(reported) == {"m@1.0.0": READY})
        expected_old = (await client.infer("m", [ones(256)])).as_numpy("y")
        calls = [asyncio.create_task(client.infer("m", [ones(256)])) for _ in range(8)]
        process.publish(new.version())
        answers = [answer.as_numpy("y") for answer in await asyncio.gather(*calls)]
        await process.settled(lambda reported: reported[0].digest == new.sha256 and reported[0].state == READY)
        expected_new = (await client.infer("m", [ones(256)])).as_numpy("y")
        assert not np.allclose(expected_old, expected_new)
        for answer in answers:
            assert np.array_equal(answer, expected_old) or np.array_equal(answer, expected_new)


async def test_the_state_of_every_version_can_be_asked_and_watched(tmp_path: Path) -> None:
    """The watch starts with the present and follows a change."""
    async with model_process(tmp_path) as process, grpc.aio.insecure_channel(process.address) as channel:
        stub = ModelServiceStub(channel)
        model = linear(1)
        process.upload(model)
        process.publish(model.version())
        await process.settled(lambda reported: states(reported) == {"m@1.0.0": READY})
        described = await stub.DescribeRuntimes(model_service_pb2.DescribeRuntimesRequest())
        assert {"m@1.0.0": READY} == states(described.runtimes)
        watch = stub.WatchRuntimes(model_service_pb2.WatchRuntimesRequest()).__aiter__()
        assert described.runtimes == (await anext(watch)).runtimes
        process.publish(model.version("only"))
        async with asyncio.timeout(10):
            while states((await anext(watch)).runtimes) != {"only@1.0.0": READY}:
                pass


async def test_a_version_is_reported_with_what_its_golden_set_came_to(tmp_path: Path) -> None:
    """Both versions answer; only one of them as recorded."""
    model = linear(2)
    rows = np.arange(48, dtype=np.float32).reshape(3, 16)
    right = golden_set({"x": rows}, {"y": rows.sum(axis=1, keepdims=True) * 2})
    wrong = golden_set({"x": rows}, {"y": rows.sum(axis=1, keepdims=True) * np.float32(2.5)})
    async with (
        model_process(tmp_path, max_batch_rows=2) as process,
        triton.InferenceServerClient(process.address) as client,
    ):
        process.upload(model)
        process.publish(
            process.with_golden(model.version(), right, relative_tolerance=1e-6),
            process.with_golden(model.version(version="2.0.0"), wrong, relative_tolerance=0.2),
            process.with_golden(model.version(version="3.0.0"), wrong, relative_tolerance=0.1),
            model.version(version="4.0.0"),
        )
        wanted = {f"m@{number}.0.0": READY for number in (1, 2, 3, 4)}
        reported = await process.settled(lambda reported: states(reported) == wanted)
        assert {"1.0.0": PASSED, "2.0.0": PASSED, "3.0.0": NOT_PASSED, "4.0.0": NOT_RUN} == {
            status.version: status.golden for status in reported
        }
        [message] = [status.golden_message for status in reported if status.golden_message]
        assert "output 'y', row 2, element [0]: recorded 1580.0, computed 1264.0; 3 of 3 elements differ" == message
        assert [[32]] == (await client.infer("m", [ones(1)], "3.0.0")).as_numpy("y").tolist()
