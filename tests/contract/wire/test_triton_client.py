"""NVIDIA's own client of the Open Inference Protocol, against the model service."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import tritonclient.grpc as triton

from tests.worlds.models import echo
from tests.worlds.sandbox import Sandbox

INPUTS: dict[str, np.ndarray[Any, Any]] = {
    "f": np.array([[1.5, 2.5], [3.5, 4.5]], np.float32),
    "n": np.array([2**53 + 1, -1], np.int64),
    "s": np.array([["a", "ü"], ["", "b"]], object),
}


def inferred(address: str, model: str) -> dict[str, list[object]]:
    """Ask the server about a model, infer, and return the outputs by name."""
    with triton.InferenceServerClient(address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model, "1.0.0")
        metadata = client.get_model_metadata(model, as_json=True)
        assert ["f", "n", "s"] == [each["name"] for each in metadata["inputs"]]
        inputs = []
        for name, values in INPUTS.items():
            made = triton.InferInput(
                name, values.shape, triton.np_to_triton_dtype(values.dtype) if name != "s" else "BYTES"
            )
            made.set_data_from_numpy(values)
            inputs.append(made)
        answer = client.infer(model, inputs, model_version="1.0.0", request_id="7", client_timeout=10)
        assert "7" == answer.get_response().id
        return {name: answer.as_numpy(f"{name}_seen").tolist() for name in INPUTS}


async def test_inference(own: Sandbox) -> None:
    """Live, ready, metadata and an inference of several types, by model and version."""
    model = echo(f=("FP32", (2,)), n=("INT64", ()), s=("BYTES", (2,)))
    await own.serve("triton", model, {"f": ["request:a", "request:b"], "n": ["request:n"], "s": ["request:s"]})
    found = await asyncio.to_thread(inferred, own.mesh.addresses.model, own.full("triton"))
    texts = [[b"a", "ü".encode()], [b"", b"b"]]
    assert {"f": INPUTS["f"].tolist(), "n": INPUTS["n"].tolist(), "s": texts} == found
