"""The backend `onnxruntime` of ours answers as the native one would."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as client
from onnx import helper
from tritonclient.utils import InferenceServerException

from services.model.versions import TensorSpec
from tests.support.onnx_models import DATATYPES, OnnxModel, build, identity, linear, lookup, several
from tests.support.triton import TritonServer
from tests.support.triton_models import put, tensor

NUMBERS = [name for name in DATATYPES if name not in {"BOOL", "BYTES"}]
# Three rows make a batch at once, fewer wait for company.
GATHERING = "dynamic_batching { preferred_batch_size: [3] max_queue_delay_microseconds: 5000000 }"


@pytest.fixture(scope="module")
def triton(server: TritonServer) -> Iterator[client.InferenceServerClient]:
    """A blocking client."""
    with client.InferenceServerClient(server.grpc) as opened:
        yield opened


def load(server: TritonServer, triton: client.InferenceServerClient, name: str, model: OnnxModel) -> None:
    """Have a model loaded."""
    put(server, name, model)
    triton.load_model(name)


def echoed(triton: client.InferenceServerClient, name: str, datatype: str, values: Any) -> Any:
    """Return what a model says to `x`."""
    return triton.infer(name, [tensor("x", datatype, values)]).as_numpy("y")


def refusal(triton: client.InferenceServerClient, name: str, datatype: str, values: Any) -> tuple[str, str]:
    """Return code and message of a call that fails."""
    with pytest.raises(InferenceServerException) as caught:
        echoed(triton, name, datatype, values)
    return caught.value.status(), caught.value.message()


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers(server: TritonServer, triton: client.InferenceServerClient, datatype: str) -> None:
    """Every type of number goes through unchanged, to its limits."""
    load(server, triton, f"number_{datatype}", identity(datatype, (2,)))
    kind = np.dtype({"FP16": "f2", "FP32": "f4", "FP64": "f8"}.get(datatype, datatype.lower()))
    limits = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    values = np.array([[limits.min, limits.max], [0, 1]], kind)
    answer = echoed(triton, f"number_{datatype}", datatype, values)
    assert (values.tolist(), kind) == (answer.tolist(), answer.dtype)


def test_bools(server: TritonServer, triton: client.InferenceServerClient) -> None:
    """A byte that is neither 0 nor 1 is true."""
    load(server, triton, "bools", identity("BOOL", (3,)))
    given = client.InferInput("x", [1, 3], "BOOL")
    given.set_data_from_numpy(np.zeros((1, 3), np.bool_))
    given._raw_content = b"\x00\x01\x02"
    assert b"\x00\x01\x01" == triton.infer("bools", [given]).as_numpy("y").tobytes()


def test_texts(server: TritonServer, triton: client.InferenceServerClient) -> None:
    """Text of any length goes through, zeros and letters beyond ASCII included."""
    load(server, triton, "texts", identity("BYTES", (2,)))
    values = [[b"", "ß€".encode()], [b"a\x00b", b"x" * 100_000]]
    assert values == echoed(triton, "texts", "BYTES", values).tolist()


def test_text_that_is_none(server: TritonServer, triton: client.InferenceServerClient) -> None:
    """Bytes that are not UTF-8 are the caller's mistake."""
    load(server, triton, "no_text", identity("BYTES", (1,)))
    code, message = refusal(triton, "no_text", "BYTES", [[b"\xff"]])
    assert "StatusCode.INVALID_ARGUMENT" == code
    assert "input 'x' is text for this model, and a value is not UTF-8" in message


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_shapes(server: TritonServer, triton: client.InferenceServerClient, shape: tuple[int, ...]) -> None:
    """Rows of any rank; one number a row is a vector of one outside and none for the model."""
    name = f"shape_{len(shape)}"
    load(server, triton, name, identity("FP32", shape))
    values = np.arange(4 * np.prod(shape), dtype=np.float32).reshape(4, *(shape or (1,)))
    assert values.tolist() == echoed(triton, name, "FP32", values).tolist()


def test_several_inputs_and_outputs(server: TritonServer, triton: client.InferenceServerClient) -> None:
    """Each output is found under its name, and only those that were asked for are sent."""
    load(server, triton, "several", several())
    inputs = [tensor("a", "FP32", [[1, 2]]), tensor("b", "FP32", [[3, 4]]), tensor("text", "BYTES", [[b"t"]])]
    answer = triton.infer("several", inputs)
    assert ([[4, 6]], [[b"t"]]) == (answer.as_numpy("total").tolist(), answer.as_numpy("word").tolist())
    (only,) = triton.infer("several", inputs, outputs=[client.InferRequestedOutput("word")]).get_response().outputs
    assert "word" == only.name


def test_a_failure_of_the_model(server: TritonServer, triton: client.InferenceServerClient) -> None:
    """It is told with its reason, and the model goes on."""
    load(server, triton, "failing", lookup())
    code, message = refusal(triton, "failing", "INT64", [[9]])
    assert "StatusCode.INTERNAL" == code
    assert "ONNX Runtime failed on this input" in message
    assert "idx=9" in message
    assert [[30]] == echoed(triton, "failing", "INT64", [[3]]).tolist()


def test_requests_are_computed_together(server: TritonServer, triton: client.InferenceServerClient) -> None:
    """Requests that wait for each other are one batch, and each gets its own rows."""
    together = _together(server, triton, "together", [[[0]], [[1], [2]]])
    assert [[[0]], [[10], [20]]] == together
    (found,) = triton.get_inference_statistics("together").model_stats
    assert (3, 1) == (found.inference_count, found.execution_count)


def test_a_failing_request_fails_alone(server: TritonServer, triton: client.InferenceServerClient) -> None:
    """Those that were gathered with it are answered."""
    first, failed, last = _together(server, triton, "alone", [[[1]], [[9]], [[2]]])
    assert ([[10]], [[20]]) == (first, last)
    assert "idx=9" in failed


def _together(
    server: TritonServer, triton: client.InferenceServerClient, name: str, requests: list[list[list[int]]]
) -> list[Any]:
    """Send requests of three rows in all as one batch; return the answers, or what the errors say."""
    put(server, name, lookup())
    configuration = server.repository / name / "config.pbtxt"
    configuration.write_text(configuration.read_text().replace("dynamic_batching { }", GATHERING))
    triton.load_model(name)

    def ask(values: list[list[int]]) -> Any:
        try:
            return echoed(triton, name, "INT64", values).tolist()
        except InferenceServerException as error:
            return error.message()

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(ask, requests))


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("width", "dims: [16]", "dims: [15]", "input 'x' is [-1, 16] in the model, [-1, 15] in the configuration"),
        ("rank", "dims: [16]", "dims: [4, 4]", "input 'x' is [-1, 16] in the model, [-1, 4, 4] in the configuration"),
        ("type", "TYPE_FP32 dims: [16]", "TYPE_FP64 dims: [16]", "input 'x' is TYPE_FP32 in the model, TYPE_FP64 in"),
        ("input", 'name: "x"', 'name: "z"', "it has no input 'z', it has: x; the model's input 'x' is not in the"),
        ("output", 'name: "y"', 'name: "z"', "it has no output 'z', it has: y"),
    ],
)
def test_a_configuration_that_does_not_fit(
    server: TritonServer, triton: client.InferenceServerClient, name: str, old: str, new: str, expected: str
) -> None:
    """It fails the load, with every difference by name; the server stays ready."""
    put(server, name, linear())
    configuration = server.repository / name / "config.pbtxt"
    configuration.write_text(configuration.read_text().replace(old, new))
    with pytest.raises(InferenceServerException) as caught:
        triton.load_model(name)
    assert expected in caught.value.message()
    assert triton.is_server_ready()


def test_a_fixed_number_of_rows(server: TritonServer, triton: client.InferenceServerClient) -> None:
    """A model that takes no batches of any size is refused."""
    specs = [TensorSpec("x", "FP32", (2,))], [TensorSpec("y", "FP32", (2,))]
    put(server, "fixed", build([helper.make_node("Identity", ["x"], ["y"])], *specs, batch=5))
    with pytest.raises(InferenceServerException, match=r"input 'x' is \[5, 2\] in the model, \[-1, 2\] in the conf"):
        triton.load_model("fixed")


def test_a_file_that_is_no_model(server: TritonServer, triton: client.InferenceServerClient) -> None:
    """The message says whose words it has."""
    put(server, "garbage", linear())
    (server.repository / "garbage" / "1" / "model.onnx").write_bytes(b"x" * 100)
    with pytest.raises(InferenceServerException, match="ONNX Runtime does not load the model"):
        triton.load_model("garbage")
