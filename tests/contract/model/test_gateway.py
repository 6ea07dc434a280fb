"""What the model service says beside its outputs is what the gateway hears: neither imports the other."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as oip

from services.gateway.clients import ModelClient
from services.gateway.prediction import DegradationReason, Inference, RuntimeSource
from services.mesh.deadline import Deadline
from services.mesh.replicas import only
from services.model.calls import Answer, Source
from services.model.computing import FAILED, NOT_READY, SATURATED, SLOW
from services.model.datatypes import Array
from services.model.oip.infer import encode_infer
from services.model.versions import Signature, TensorSpec, Version
from tests.support.predictions import target

AIM = target({"x:FP32": ["hour"]}, outputs=("y:FP32",))
SPECS = (TensorSpec("y", "FP32", ()),)
VERSION = Version("m", "1.0.0", "d", Signature(SPECS, SPECS), ())


async def heard(sources: list[Source], row_sources: list[int] | None, codes: Array | None = None) -> Inference:
    """Return what the gateway makes of an answer of three rows."""
    outputs = {"y": np.arange(3, dtype=np.float32)}
    answer = Answer(outputs, codes, sources, None if row_sources is None else np.array(row_sources, np.uint8))

    async def infer(request: oip.ModelInferRequest, timeout: float) -> oip.ModelInferResponse:
        assert timeout > 0
        return encode_infer(request, VERSION, SPECS, answer)

    client = ModelClient(only(SimpleNamespace(ModelInfer=infer)))
    return await client.infer(AIM, [b"\0" * 12], [900, 5, 7], Deadline.after(5))


async def test_one_runtime() -> None:
    """Its name alone."""
    inference = await heard([Source("triton")], None)
    assert ((RuntimeSource("triton"),), None) == (inference.sources, inference.row_source)


@pytest.mark.parametrize("reason", [FAILED, NOT_READY, SATURATED, SLOW])
async def test_every_reason(reason: str) -> None:
    """Each that the model service may give is one that the gateway knows."""
    inference = await heard([Source("onnx", reason, "triton")], None)
    assert (RuntimeSource("onnx", DegradationReason[reason], "triton"),) == inference.sources


async def test_several_runtimes_and_failed_rows() -> None:
    """Each row has its runtime or its code."""
    codes = np.array([0, 0, 4], np.int32)
    inference = await heard([Source("triton"), Source("onnx", SATURATED, "triton")], [0, 1, 0], codes)
    stood_in = RuntimeSource("onnx", DegradationReason.RUNTIME_SATURATED, "triton")
    assert (RuntimeSource("triton"), stood_in) == inference.sources
    assert inference.row_source is not None
    assert ([0, 1, 0], {2: 4}) == (inference.row_source.tolist(), inference.failed_rows)
    assert [[0], [1], [2]] == inference.outputs[0].tolist()
