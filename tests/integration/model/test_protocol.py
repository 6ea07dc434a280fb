"""Clients of the Open Inference Protocol against a model service of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import grpc
import numpy as np
import pytest
import pytest_asyncio
import tritonclient.grpc as sync_triton
import tritonclient.grpc.aio as triton
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc import service_pb2_grpc as oip_grpc
from tritonclient.utils import InferenceServerException

from predictmesh.model.v1 import runtime_pb2
from services.model.datatypes import DTYPES, Array
from tests.support.model_process import ModelProcess, model_process, ones, states
from tests.support.onnx_models import DATATYPES, identity, linear, lookup, reciprocal, several

READY = runtime_pb2.RUNTIME_STATE_READY

# One process for all: no test changes what it has loaded.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ModelProcess]:
    """A model service with a model of each kind, and one version that cannot be loaded."""
    models = {"linear": linear(1), "several": several(), "lookup": lookup(4), "reciprocal": reciprocal()}
    models |= {datatype.lower(): identity(datatype, (2,)) for datatype in DATATYPES}
    newer = linear(2)
    directory = tmp_path_factory.mktemp("model")
    async with model_process(directory, max_call_rows=64, max_batch_rows=16) as started:
        started.upload(newer, *models.values())
        versions = [model.version(f"team/{name}") for name, model in models.items()]
        started.publish(*versions, newer.version("team/linear", "1.10.0"), linear(3).version("team/linear", "1.9.0"))
        await started.settled(lambda reported: list(states(reported).values()).count(READY) == len(versions) + 1)
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def client(process: ModelProcess) -> AsyncIterator[triton.InferenceServerClient]:
    """The client that most callers have."""
    async with triton.InferenceServerClient(process.address) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def stub(process: ModelProcess) -> AsyncIterator[oip_grpc.GRPCInferenceServiceStub]:
    """The bare stub, for what that client hides."""
    async with grpc.aio.insecure_channel(process.address) as channel:
        yield oip_grpc.GRPCInferenceServiceStub(channel)


def _input(name: str, values: Array, datatype: str) -> triton.InferInput:
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


def _lookup_request(values: list[int], row_times: str) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="team/lookup", model_version="1.0.0", id="7")
    request.inputs.add(name="x", datatype="INT64", shape=[len(values)]).contents.int64_contents.extend(values)
    if row_times:
        request.parameters["pm_rows"].string_param = row_times
    return request


def _outputs(response: oip.ModelInferResponse) -> dict[str, list[float]]:
    return {
        output.name: np.frombuffer(raw, DTYPES[output.datatype]).reshape(output.shape).tolist()
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


async def _reason(call: Awaitable[object]) -> tuple[str, str, list[str]]:
    """Return code, reason and paths of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    status = rpc_status.from_call(failed.value)  # type: ignore[arg-type]  # it has the three methods that are read
    assert status is not None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return failed.value.code().name, info.reason, [violation.field for violation in bad.field_violations]


def _raw(channel: grpc.aio.Channel, method: str, request: bytes) -> Awaitable[bytes]:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
    call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    return call(request, timeout=5)


async def _status(call: Awaitable[object]) -> str:
    """Return OK, or code and reason."""
    try:
        await call
    except grpc.aio.AioRpcError:
        return "/".join((await _reason(call))[:2])
    return "OK"


async def test_a_version_answers_by_its_number_and_the_newest_without_one(
    client: triton.InferenceServerClient,
) -> None:
    """1.10 is newer than 1.9, which is not even loaded."""
    assert [[16]] == (await client.infer("team/linear", [ones(1)], "1.0.0")).as_numpy("y").tolist()
    newest = await client.infer("team/linear", [ones(2)], request_id="42")
    assert [[32], [32]] == newest.as_numpy("y").tolist()
    assert ("1.10.0", "42") == (newest.get_response().model_version, newest.get_response().id)
    assert {} == dict(newest.get_response().parameters)


async def test_the_blocking_client_gets_the_same_answers(process: ModelProcess) -> None:
    """Threads and event loops alike can call."""

    def infer() -> list[list[float]]:
        with sync_triton.InferenceServerClient(process.address) as client:
            assert client.is_server_live()
            assert client.is_model_ready("team/linear", "1.10.0")
            return client.infer("team/linear", [ones(1)]).as_numpy("y").tolist()  # type: ignore[no-any-return]

    assert [[32]] == await asyncio.to_thread(infer)


@pytest.mark.parametrize("datatype", DATATYPES)
async def test_every_type_travels(client: triton.InferenceServerClient, datatype: str) -> None:
    """Through the client's own packing, half floats and byte strings too."""
    values = np.array([[1, 0], [0, 1]]).astype(DTYPES[datatype])
    if datatype == "BYTES":
        values = np.array([[b"a", b""], ["ü".encode(), b"x" * 300]], object)
    answered = (await client.infer(f"team/{datatype.lower()}", [_input("x", values, datatype)])).as_numpy("y")
    assert values.tolist() == answered.tolist()
    assert values.dtype == answered.dtype


async def test_several_inputs_and_a_choice_of_outputs(client: triton.InferenceServerClient) -> None:
    """Only what is asked for travels back."""
    pair = np.array([[1, 2]], np.float32)
    inputs = [_input("b", pair, "FP32"), _input("text", np.array([b"w"], object), "BYTES"), _input("a", pair, "FP32")]
    everything = await client.infer("team/several", inputs)
    assert ([[2, 4]], [b"w"]) == (everything.as_numpy("total").tolist(), everything.as_numpy("word").tolist())
    word = await client.infer("team/several", inputs, outputs=[triton.InferRequestedOutput("word")])
    assert ["word"] == [output.name for output in word.get_response().outputs]


async def test_rows_with_times_are_each_answered_by_themselves(stub: oip_grpc.GRPCInferenceServiceStub) -> None:
    """A bad row and a late one among good ones: codes beside blanks, and who computed."""
    response = await stub.ModelInfer(_lookup_request([1, 99, 2, 3], "60000,60000,0,60000"))
    assert {"y": [10, 0, 0, 30], "pm_row_status": [0, 13, 4, 0]} == _outputs(response)
    assert ("onnx", "7") == (response.parameters["pm_runtime"].string_param, response.id)


async def test_good_rows_need_no_codes(stub: oip_grpc.GRPCInferenceServiceStub) -> None:
    """The extra output comes only when a row is not OK."""
    response = await stub.ModelInfer(_lookup_request([1, 2], "60000,60000"))
    assert {"y": [10, 20]} == _outputs(response)


async def test_calls_larger_than_a_batch_are_answered_whole(client: triton.InferenceServerClient) -> None:
    """In batches of 16, in the caller's order."""
    values = np.arange(64, dtype=np.float32)[:, None] * np.ones(16, np.float32)
    before = (await client.get_inference_statistics("team/linear", "1.0.0")).model_stats[0]
    answered = await client.infer("team/linear", [_input("x", values, "FP32")], "1.0.0")
    assert (values.sum(axis=1)).tolist() == answered.as_numpy("y")[:, 0].tolist()
    after = (await client.get_inference_statistics("team/linear", "1.0.0")).model_stats[0]
    assert 64 == after.inference_count - before.inference_count
    assert 4 == after.execution_count - before.execution_count
    assert 1 == after.inference_stats.success.count - before.inference_stats.success.count
    assert 16 in {batch.batch_size for batch in after.batch_stats}


async def test_refusals_carry_reason_and_path(stub: oip_grpc.GRPCInferenceServiceStub) -> None:
    """Whatever is wrong with a name, a version, a shape or a value."""
    request = oip.ModelInferRequest(model_name="team/linear", model_version="1.0.0")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 15])
    request.raw_input_contents.append(b"\0" * 60)
    assert ("INVALID_ARGUMENT", "SHAPE_MISMATCH", ["inputs[0].shape"]) == await _reason(stub.ModelInfer(request))
    request.model_version = "7.0.0"
    assert ("NOT_FOUND", "UNKNOWN_VERSION", ["model_version"]) == await _reason(stub.ModelInfer(request))
    request.model_version = "1.9.0"
    assert ("UNAVAILABLE", "VERSION_NOT_LOADED", ["model_version"]) == await _reason(stub.ModelInfer(request))
    request.model_name = "nobody"
    assert ("NOT_FOUND", "UNKNOWN_MODEL", ["model_name"]) == await _reason(stub.ModelInfer(request))
    many = _lookup_request([1] * 65, "")
    assert ("INVALID_ARGUMENT", "ROWS_OUT_OF_RANGE", ["inputs[0].shape"]) == await _reason(stub.ModelInfer(many))
    broken = _lookup_request([99], "")
    assert ("INTERNAL", "RUNTIME_FAILED", []) == await _reason(stub.ModelInfer(broken))
    zero = oip.ModelInferRequest(model_name="team/reciprocal")
    zero.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(float("nan"))
    assert ("INVALID_ARGUMENT", "NON_FINITE_VALUE", ["inputs[0]"]) == await _reason(stub.ModelInfer(zero))
    zero.inputs[0].contents.fp32_contents[0] = 0
    assert ("INTERNAL", "INVALID_OUTPUT", []) == await _reason(stub.ModelInfer(zero))


async def test_bytes_that_are_no_request_are_refused(process: ModelProcess) -> None:
    """With a reason, and without the parser's text."""
    async with grpc.aio.insecure_channel(process.address) as channel:
        call = _raw(channel, "ModelInfer", b"\xff\xff\xff")
        assert ("INVALID_ARGUMENT", "MALFORMED_MESSAGE", []) == await _reason(call)


async def test_a_stream_answers_each_request_in_order(client: triton.InferenceServerClient) -> None:
    """One that fails is answered in its place, and the stream goes on."""

    async def requests() -> AsyncIterator[dict[str, object]]:
        for index, name in enumerate(["team/linear", "nobody", "team/linear"]):
            yield {"model_name": name, "inputs": [ones(index + 1)], "request_id": str(index)}

    answers = [answer async for answer in client.stream_infer(requests())]
    assert ["0", "1", "2"] == [answer[0].get_response().id if answer[0] else "1" for answer in answers]
    assert 3 == len(answers[2][0].as_numpy("y"))
    assert "UNKNOWN_MODEL" in str(answers[1][1])


async def test_the_server_describes_itself(client: triton.InferenceServerClient) -> None:
    """Liveness, readiness, metadata, configuration and index, as the client reads them."""
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert [True, False, False] == [
        await client.is_model_ready("team/linear", version) for version in ("1.0.0", "1.9.0", "7.0.0")
    ]
    assert "predictmesh" == (await client.get_server_metadata()).name
    metadata = await client.get_model_metadata("team/several")
    assert ("onnxruntime_onnx", ["1.0.0"]) == (metadata.platform, list(metadata.versions))
    assert [("a", "FP32", [-1, 2]), ("b", "FP32", [-1, 2]), ("text", "BYTES", [-1])] == [
        (tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs
    ]
    config = (await client.get_model_config("team/several", as_json=True))["config"]
    assert (16, "TYPE_STRING") == (config["max_batch_size"], config["output"][1]["data_type"])
    index = {(m.name, m.version): m.state for m in (await client.get_model_repository_index()).models}
    assert ("READY", "UNAVAILABLE") == (index["team/linear", "1.0.0"], index["team/linear", "1.9.0"])


async def test_loading_by_call_is_refused(client: triton.InferenceServerClient) -> None:
    """What is loaded follows from the registry alone."""
    with pytest.raises(InferenceServerException, match="RepositoryModelLoad is not offered"):
        await client.load_model("team/linear")


async def test_shared_memory_is_refused(client: triton.InferenceServerClient) -> None:
    """With the reason: a client may fall back on messages."""
    with pytest.raises(InferenceServerException, match="SystemSharedMemoryRegister is not offered: tensors travel in"):
        await client.register_system_shared_memory("region", "/key", 64)


async def test_every_method_of_the_protocol_is_answered(process: ModelProcess) -> None:
    """With an answer or a status of ours: none falls through to an unknown method or an exception."""
    async with grpc.aio.insecure_channel(process.address) as channel:
        methods = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
        unary = [method.name for method in methods if method.name != "ModelStreamInfer"]
        for name in unary:
            status = await _status(_raw(channel, name, b""))
            assert status in {"OK", "NOT_FOUND/UNKNOWN_MODEL", "UNIMPLEMENTED/UNKNOWN_METHOD"}, name
