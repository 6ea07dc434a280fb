"""Models of many kinds side by side in one model service, computed by Triton and asked for with Triton's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import grpc
import numpy as np
import pytest
import pytest_asyncio
import tritonclient.grpc as sync_triton
import tritonclient.grpc.aio as triton
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc import service_pb2_grpc as oip_grpc

from services.model.datatypes import DTYPES, Array
from tests.support import model_kinds as kinds
from tests.support.model_process import ModelProcess, model_process
from tests.support.onnx_models import DATATYPES, linear, several
from tests.support.triton import TritonServer, triton_server
from tests.support.waiting import eventually

# One model service and one Triton for all: no test changes what they have loaded.
pytestmark = pytest.mark.asyncio(loop_scope="module")

SUM, DOUBLE = linear(1), linear(2, width=1)

VALUES: Mapping[str, Array] = {
    datatype: np.array([[1, 0, 3], [0, 1, 100]]).astype(dtype) for datatype, dtype in DTYPES.items()
} | {"BYTES": np.array([[b"a", b"", "\u00fc".encode()], [b"x" * 300, b"\n", b"0"]], object)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TritonServer]:
    """The Triton behind the model service."""
    async with triton_server(tmp_path_factory.mktemp("triton")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ModelProcess]:
    """The model service, which has loaded everything on every runtime."""
    steps = kinds.version(SUM, "team/linear"), kinds.version(DOUBLE, "doubled")
    both = kinds.ensemble(*steps)
    versions = [
        *steps,
        kinds.version(linear(3), "team/linear", "1.10.0"),
        kinds.version(kinds.every_type(), "every-type"),
        kinds.version(several(), "several"),
        kinds.version(kinds.python(), "python", form="python"),
        kinds.version(both, "both", form="ensemble"),
    ]
    settings = {"triton": server.grpc, "triton_repository": server.repository, "max_batch_rows": 16}
    async with model_process(tmp_path_factory.mktemp("model"), **settings) as started:
        started.upload(SUM, DOUBLE, linear(3), kinds.every_type(), several(), kinds.python(), both)
        started.publish(*versions)
        await eventually(lambda: kinds.ready(started) == kinds.placed(*versions), within_s=60)
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def client(process: ModelProcess) -> AsyncIterator[triton.InferenceServerClient]:
    """The client that most callers have."""
    async with triton.InferenceServerClient(process.address) as opened:
        yield opened


def _input(name: str, values: Array, datatype: str) -> triton.InferInput:
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


async def _infer(
    client: triton.InferenceServerClient, model: str, inputs: Mapping[str, tuple[str, Array]], version: str = ""
) -> dict[str, Array]:
    """Ask with ten seconds for each row, and return all outputs; Triton must have computed them."""
    given = [_input(name, values, datatype) for name, (datatype, values) in inputs.items()]
    rows = given[0].shape()[0]
    result = await client.infer(model, given, version, parameters={"pm_rows": ",".join(["10000"] * rows)})
    response = result.get_response()
    assert "triton" == response.parameters["pm_runtime"].string_param
    return {output.name: result.as_numpy(output.name) for output in response.outputs}


async def test_models_and_versions_live_side_by_side(
    server: TritonServer, client: triton.InferenceServerClient
) -> None:
    """Each in Triton under a name of its own."""
    row = {"x": ("FP32", np.ones((2, 16), np.float32))}
    assert [[16], [16]] == (await _infer(client, "team/linear", row, "1.0.0"))["y"].tolist()
    assert [[48], [48]] == (await _infer(client, "team/linear", row))["y"].tolist()
    async with triton.InferenceServerClient(server.grpc) as asked:
        index = (await asked.get_model_repository_index()).models
    assert {"READY"} == {model.state for model in index}
    names = ["both", "doubled", "every-type", "python", "several", "team--linear", "team--linear"]
    assert names == sorted(model.name.rpartition("--")[0] for model in index)


async def test_every_type_travels_as_a_tensor_of_its_own(client: triton.InferenceServerClient) -> None:
    """Thirteen named inputs and outputs in one call, half floats and byte strings among them."""
    answered = await _infer(client, "every-type", {f"in_{each}": (each, VALUES[each]) for each in DATATYPES})
    assert {f"out_{each}" for each in DATATYPES} == answered.keys()
    for each in DATATYPES:
        assert VALUES[each].tolist() == answered[f"out_{each}"].tolist(), each
        assert DTYPES[each] == answered[f"out_{each}"].dtype


async def test_values_may_come_typed_instead_of_packed(process: ModelProcess) -> None:
    """As from a client that has only the protocol's stubs."""
    request = oip.ModelInferRequest(model_name="several")
    for name in ("a", "b"):
        request.inputs.add(name=name, datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1, 2])
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"w")
    async with grpc.aio.insecure_channel(process.address) as channel:
        response = await oip_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
    result = sync_triton.InferResult(response)
    assert ([[2, 4]], [b"w"]) == (result.as_numpy("total").tolist(), result.as_numpy("word").tolist())


async def test_only_the_outputs_that_are_asked_for_travel(client: triton.InferenceServerClient) -> None:
    """Though Triton computes all, as callers whose rows share a batch may ask for different ones."""
    pair = np.array([[1, 2]], np.float32)
    inputs = [_input("b", pair, "FP32"), _input("text", np.array([b"w"], object), "BYTES"), _input("a", pair, "FP32")]
    word = await client.infer("several", inputs, outputs=[triton.InferRequestedOutput("word")])
    assert ["word"] == [output.name for output in word.get_response().outputs]
    assert [b"w"] == word.as_numpy("word").tolist()


async def test_python_models_take_and_give_several_tensors(client: triton.InferenceServerClient) -> None:
    """Of numbers and of text; of more rows than a batch has, too."""
    values = np.arange(160, dtype=np.float32).reshape(40, 4)
    words = np.array([[b"low", b"%d" % row] for row in range(40)], object)
    answered = await _infer(client, "python", {"values": ("FP32", values), "words": ("BYTES", words)})
    assert values[:, 3:].tolist() == answered["largest"].tolist()
    assert [[b"LOW", b"%d" % row] for row in range(40)] == answered["shout"].tolist()


async def test_ensembles_join_deployed_versions(client: triton.InferenceServerClient) -> None:
    """What comes between the steps may be an output too."""
    answered = await _infer(client, "both", {"row": ("FP32", np.ones((3, 16), np.float32))})
    assert ([[16]] * 3, [[32]] * 3) == (answered["sum"].tolist(), answered["score"].tolist())


async def test_metadata_names_what_computes(client: triton.InferenceServerClient) -> None:
    """Platforms as Triton names them."""
    platforms = {model: (await client.get_model_metadata(model)).platform for model in ("several", "python", "both")}
    assert {"several": "onnxruntime_onnx", "python": "python", "both": "ensemble"} == platforms
