"""Models of Triton's Python backend, which do what no ONNX model can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.onnx_models import OnnxModel, linear

_HOLDING = """
import numpy, pathlib, time
import triton_python_backend_utils as triton

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        rows = triton.get_input_tensor_by_name(request, "x").as_numpy()
        held = rows[0, 0] == 2
        if rows.any():
            pathlib.Path("FILE.entered").touch()
        ends = time.monotonic() + USUAL
        while not request.is_cancelled() and (held or time.monotonic() < ends):
            time.sleep(0.01)
        if not request.is_cancelled():
            return triton.InferenceResponse([triton.Tensor("y", numpy.ones((len(rows), 1), numpy.float32))])
        pathlib.Path("FILE.cancelled").touch()
        return triton.InferenceResponse(error=triton.TritonError("given up", triton.TritonError.CANCELLED))
"""


def holding(file: Path, usual_s: float = 0.0) -> OnnxModel:
    """A model of linear's signature that answers ones after `usual_s`, but twos not before its caller has given up.

    It leaves `file`.entered where it was asked about anything but zeros, and `file`.cancelled where it was given up.
    """
    content = _HOLDING.replace("FILE", str(file)).replace("USUAL", str(usual_s))
    return replace(linear(), content=content.encode())
