"""The workload `wide`: 40 FP32 into an MLP of 1024-1024-512, wide enough for batching to pay, with answers known before."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import helper
from tritonclient.grpc import service_pb2 as oip

from services.model.versions import Artifact, TensorSpec, Version
from tests.support.onnx_models import OnnxModel, build

MODEL = "wide"
WIDTH = 40
HIDDEN = (1024, 1024, 512)
ROWS = 4096
TOLERANCE = 1e-3

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Wide:
    """The model, rows to ask for [ROWS, WIDTH], and what must be answered [ROWS]."""

    model: OnnxModel
    rows: Floats
    answers: Floats

    @property
    def version(self) -> Version:
        """Make the version, which only Triton computes: no fallback helps it out."""
        digest = self.model.sha256
        return Version(MODEL, "1.0.0", digest, self.model.signature, (Artifact("triton", digest),))

    def requests(self, rows: int) -> list[tuple[bytes, Floats]]:
        """Return serialized ModelInfer requests of `rows` rows, with their answers."""
        starts = range(0, ROWS - rows + 1, rows)
        return [(_request(self.rows[start : start + rows]), self.answers[start : start + rows]) for start in starts]


def make() -> Wide:
    """Make the model and its rows; the same each time."""
    random = np.random.default_rng(11)
    rows = random.normal(size=(ROWS, WIDTH)).astype(np.float32)
    weights = {
        f"w{layer}": random.normal(0, np.sqrt(2 / before), (before, after)).astype(np.float32)
        for layer, (before, after) in enumerate(itertools.pairwise((WIDTH, *HIDDEN, 1)))
    }
    return Wide(_model(weights), rows, _computed(rows, list(weights.values())))


def right(response: oip.ModelInferResponse, expected: Floats) -> bool:
    """Whether a response has just the answers that were expected."""
    values = np.frombuffer(response.raw_output_contents[0], np.float32)
    return values.shape == expected.shape and bool(np.abs(values - expected).max() < TOLERANCE)


def _model(weights: dict[str, Floats]) -> OnnxModel:
    nodes, last = [], "x"
    for layer, name in enumerate(weights):
        final = layer == len(weights) - 1
        nodes.append(helper.make_node("MatMul", [last, name], ["y" if final else f"h{layer}"]))
        if not final:
            nodes.append(helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"]))
            last = f"r{layer}"
    return build(nodes, [TensorSpec("x", "FP32", (WIDTH,))], [TensorSpec("y", "FP32", (1,))], weights)


def _computed(rows: Floats, weights: list[Floats]) -> Floats:
    layer = rows
    for matrix in weights[:-1]:
        layer = np.maximum(layer @ matrix, 0)
    answers: Floats = (layer @ weights[-1])[:, 0]
    return answers


def _request(rows: Floats) -> bytes:
    request = oip.ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="x", datatype="FP32", shape=rows.shape)
    request.raw_input_contents.append(rows.tobytes())
    made: bytes = request.SerializeToString()
    return made
