"""Versions come to Triton and go again."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as client

from services.mesh.errors import StoreUnavailable
from services.model.errors import InvalidArtifact, SignatureMismatch
from services.model.runtimes.triton import open_triton
from services.model.runtimes.triton_config import Instances
from services.model.runtimes.triton_repository import TritonRepository, triton_name
from services.model.versions import Signature, TensorSpec
from tests.support.onnx_models import linear
from tests.support.runtimes import INSTANCES, Loading, triton
from tests.support.triton import TritonServer
from tests.support.waiting import eventually_answers

ONES = {"x": np.ones((1, 16), np.float32)}

# y = x, for which Python sleeps a while at the start.
SLEEPER = b"""
import time
import triton_python_backend_utils as triton

class TritonPythonModel:
    def initialize(self, args):
        time.sleep(1)

    def execute(self, requests):
        inputs = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [triton.InferenceResponse([triton.Tensor("y", values)]) for values in inputs]
"""
PASSING = Signature((TensorSpec("x", "FP32", (16,)),), (TensorSpec("y", "FP32", (16,)),))


async def _ready(asked: client.InferenceServerClient) -> set[str]:
    index = await asked.get_model_repository_index()
    return {model.name for model in index.models if model.state == "READY"}


async def test_a_version_is_there_from_load_to_close(
    server: TritonServer, load: Loading, asked: client.InferenceServerClient
) -> None:
    """Its directory too."""
    model, name = await load(linear()), triton_name(linear().version())
    assert {name} == await _ready(asked)
    assert "onnxruntime_onnx" == model.platform
    assert [16] == (await model.infer(ONES, 10))["y"].ravel().tolist()
    await model.close()
    assert set() == await _ready(asked)
    assert [] == list(server.repository.iterdir())


async def test_versions_are_loaded_at_once(load: Loading) -> None:
    """Several of a model, each with its own answers."""
    models = await asyncio.gather(*(load(linear(scale)) for scale in (1, 2, 3)))
    answers = await asyncio.gather(*(model.infer(ONES, 10) for model in models))
    assert [16, 32, 48] == [float(answer["y"][0, 0]) for answer in answers]
    await asyncio.gather(*(model.close() for model in models))


async def test_versions_of_the_same_content_share_it(load: Loading, asked: client.InferenceServerClient) -> None:
    """Until the last of them is closed."""
    first, second = await asyncio.gather(load(linear()), load(linear()))
    assert 1 == len(await _ready(asked))
    await first.close()
    assert [16] == (await second.infer(ONES, 10))["y"].ravel().tolist()
    closing = asyncio.create_task(second.close())
    third = await load(linear())
    await closing
    assert [16] == (await third.infer(ONES, 10))["y"].ravel().tolist()
    await third.close()
    assert set() == await _ready(asked)


async def test_other_limits_are_taken_over_at_a_start(
    server: TritonServer, load: Loading, asked: client.InferenceServerClient, tmp_path: Path
) -> None:
    """A process that starts with other settings does not use what its predecessor has left loaded."""
    await load(linear())
    more = Instances(count=2, kind="cpu", batch_rows=8)
    async with open_triton(server.grpc, server.repository, more, load_timeout_s=30) as successor:
        model = await Loading(successor, tmp_path)(linear())
        config = (await asked.get_model_config(triton_name(linear().version()))).config
        assert (8, 2, 2) == (config.max_batch_size, config.instance_group[0].count, model.parallel)
        await model.close()


async def test_leftovers_of_a_former_process_go_and_models_of_others_stay(
    server: TritonServer, load: Loading, asked: client.InferenceServerClient, tmp_path: Path
) -> None:
    """By their names."""
    await load(linear(5))
    theirs, ours = server.repository / "theirs", server.repository / triton_name(linear(5).version())
    unfinished = server.repository / ".unfinished-m--0123456789ab"
    (theirs / "1").mkdir(parents=True)
    unfinished.mkdir()
    (theirs / "config.pbtxt").write_text((ours / "config.pbtxt").read_text().replace(ours.name, "theirs"))
    (theirs / "1" / "model.onnx").write_bytes(linear(5).content)
    await asked.load_model("theirs")
    async with triton(server)(tmp_path):

        async def cleared() -> bool:
            return await _ready(asked) == {"theirs"} and [theirs] == list(server.repository.iterdir())

        await eventually_answers(cleared)
    await asked.unload_model("theirs")
    for path in (theirs / "1" / "model.onnx", theirs / "config.pbtxt"):
        path.unlink()
    (theirs / "1").rmdir()
    theirs.rmdir()


async def test_what_triton_refuses_is_told_and_leaves_nothing(
    server: TritonServer, load: Loading, asked: client.InferenceServerClient
) -> None:
    """While others answer; the message does not say where files lie."""
    other = await load(linear())
    with pytest.raises(InvalidArtifact) as refused:
        await load.version(replace(linear().version(), digest="f" * 64, signature=PASSING), b"broken(", "python")
    assert "Triton does not load the model" in refused.value.message
    assert str(server.directory) not in refused.value.message
    assert [16] == (await other.infer(ONES, 10))["y"].ravel().tolist()
    assert (
        {triton_name(linear().version())} == {path.name for path in server.repository.iterdir()} == await _ready(asked)
    )
    await other.close()


async def test_a_directory_that_cannot_be_deleted_hides_no_reason(
    own_load: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told is why the model was not loaded."""

    def fail(repository: TritonRepository, name: str) -> None:
        raise StoreUnavailable("it cannot be written")

    monkeypatch.setattr(TritonRepository, "remove", fail)
    with pytest.raises(InvalidArtifact):
        await own_load.version(replace(linear().version(), signature=PASSING), b"broken(", "python")


async def test_a_kind_of_device_that_is_not_there_is_refused(server: TritonServer, tmp_path: Path) -> None:
    """With Triton's reason."""
    instances = Instances(count=1, kind="gpu", batch_rows=8)
    async with open_triton(server.grpc, server.repository, instances, load_timeout_s=30) as runtime:
        with pytest.raises(InvalidArtifact, match="no GPUs are available"):
            await Loading(runtime, tmp_path)(linear())


async def test_a_cancelled_load_leaves_nothing(
    server: TritonServer, load: Loading, asked: client.InferenceServerClient
) -> None:
    """Though Triton itself does not stop it."""
    version = replace(linear().version(), signature=PASSING)
    loading = asyncio.create_task(load.version(version, SLEEPER, "python"))

    async def begun() -> bool:
        index = await asked.get_model_repository_index()
        return any(model.state == "LOADING" for model in index.models)

    await eventually_answers(begun)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert set() == await _ready(asked)
    assert [] == list(server.repository.iterdir())


async def test_a_repository_that_cannot_be_written_is_told(server: TritonServer, tmp_path: Path) -> None:
    """In the system's words."""
    (tmp_path / "file").write_text("")
    async with open_triton(server.grpc, tmp_path / "file" / "repository", INSTANCES, load_timeout_s=30) as runtime:
        with pytest.raises(StoreUnavailable, match=os.strerror(20)) as refused:
            await Loading(runtime, tmp_path)(linear())
    assert str(tmp_path) not in refused.value.message


async def test_a_repository_that_triton_does_not_see_is_told(server: TritonServer, tmp_path: Path) -> None:
    """It is no fault of the model."""
    async with open_triton(server.grpc, tmp_path / "elsewhere", INSTANCES, load_timeout_s=30) as runtime:
        with pytest.raises(StoreUnavailable, match="triton_repository"):
            await Loading(runtime, tmp_path)(linear())


async def test_python_models_are_run(load: Loading) -> None:
    """By the file alone."""
    model = await load.version(replace(linear().version(), signature=PASSING), SLEEPER, "python")
    assert ONES["x"].tolist() == (await model.infer(ONES, 10))["y"].tolist()
    await model.close()


async def test_ensembles_are_run(load: Loading) -> None:
    """Their steps are versions of ours, by Triton's names for them."""
    doubled, summed = linear(2, width=1), linear(1)
    first, second = await load(summed), await load(doubled)
    ensemble = f"""
        input {{ name: "row" data_type: TYPE_FP32 dims: 16 }}
        output {{ name: "score" data_type: TYPE_FP32 dims: 1 }}
        ensemble_scheduling {{
          step {{ model_name: "{triton_name(summed.version())}" model_version: -1
            input_map {{ key: "x" value: "row" }} output_map {{ key: "y" value: "sum" }} }}
          step {{ model_name: "{triton_name(doubled.version())}" model_version: -1
            input_map {{ key: "x" value: "sum" }} output_map {{ key: "y" value: "score" }} }}
        }}"""
    signature = Signature((TensorSpec("row", "FP32", (16,)),), (TensorSpec("score", "FP32", ()),))
    version = replace(summed.version("both"), digest="e" * 64, signature=signature)
    both = await load.version(version, ensemble.encode(), "ensemble")
    assert "ensemble" == both.platform
    assert [32, 32] == (await both.infer({"row": np.ones((2, 16), np.float32)}, 10))["score"].tolist()
    for model in (both, first, second):
        await model.close()
    other = replace(version, signature=PASSING)
    with pytest.raises(SignatureMismatch):
        await load.version(other, ensemble.encode(), "ensemble")


async def test_a_model_that_triton_alone_compares_is_refused_with_the_differences(
    load: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for an ONNX model whose operators only Triton has."""
    version = linear().version()
    narrow = replace(version, signature=Signature((TensorSpec("x", "FP32", (8,)),), version.signature.outputs))
    monkeypatch.setattr("services.model.runtimes.triton.check_onnx", _nothing)
    with pytest.raises(SignatureMismatch) as refused:
        await load.version(narrow, linear().content)
    assert ["input 'x' is [-1, 16] in the model, [-1, 8] in the configuration"] == [
        violation.description for violation in refused.value.violations
    ]


async def _nothing(artifact: Path, signature: Signature) -> None:
    pass
