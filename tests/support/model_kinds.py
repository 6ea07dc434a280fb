"""Versions of several kinds, for a model service that has a Triton."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from onnx import helper

from predictmesh.model.v1.runtime_pb2 import RUNTIME_STATE_READY
from services.model.runtimes.triton_repository import triton_name
from services.model.versions import Artifact, Signature, TensorSpec, Version
from tests.support.model_process import ModelProcess
from tests.support.onnx_models import DATATYPES, OnnxModel, build

_PYTHON = b"""
import numpy as np
import triton_python_backend_utils as triton

class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        values = triton.get_input_tensor_by_name(request, "values").as_numpy()
        words = triton.get_input_tensor_by_name(request, "words").as_numpy()
        shout = np.array([[word.upper() for word in row] for row in words], object)
        largest = values.max(axis=1, keepdims=True)
        return triton.InferenceResponse([triton.Tensor("largest", largest), triton.Tensor("shout", shout)])
"""


def every_type() -> OnnxModel:
    """Return the model of an input and an output of every type: in_FP16 comes back as out_FP16, and so on."""
    nodes = [helper.make_node("Identity", [f"in_{datatype}"], [f"out_{datatype}"]) for datatype in DATATYPES]
    inputs, outputs = ([TensorSpec(f"{way}_{each}", each, (3,)) for each in DATATYPES] for way in ("in", "out"))
    return build(nodes, inputs, outputs)


def python() -> OnnxModel:
    """Return a Python model: the largest of each row's values, and its words in capitals."""
    inputs = TensorSpec("values", "FP32", (4,)), TensorSpec("words", "BYTES", (2,))
    outputs = TensorSpec("largest", "FP32", (1,)), TensorSpec("shout", "BYTES", (2,))
    return OnnxModel(_PYTHON, Signature(inputs, outputs))


def ensemble(first: Version, second: Version) -> OnnxModel:
    """Return the ensemble that gives what the first answers to the second."""
    config = f"""
        input {{ name: "row" data_type: TYPE_FP32 dims: 16 }}
        output {{ name: "sum" data_type: TYPE_FP32 dims: 1 }}
        output {{ name: "score" data_type: TYPE_FP32 dims: 1 }}
        ensemble_scheduling {{
          step {{ model_name: "{triton_name(first)}" model_version: -1
            input_map {{ key: "x" value: "row" }} output_map {{ key: "y" value: "sum" }} }}
          step {{ model_name: "{triton_name(second)}" model_version: -1
            input_map {{ key: "x" value: "sum" }} output_map {{ key: "y" value: "score" }} }}
        }}"""
    row, scores = TensorSpec("row", "FP32", (16,)), [TensorSpec(name, "FP32", (1,)) for name in ("sum", "score")]
    return OnnxModel(config.encode(), Signature((row,), tuple(scores)))


def version(model: OnnxModel, name: str, version: str = "1.0.0", form: str = "onnx") -> Version:
    """Define a version for Triton, with ONNX Runtime behind it where that can compute it."""
    artifacts = [Artifact("triton", model.sha256, form)]
    if form == "onnx":
        artifacts.append(Artifact("onnx", model.sha256))
    digest = hashlib.sha256(f"{name}@{version} {model.sha256}".encode()).hexdigest()
    return replace(model.version(name, version, digest), artifacts=tuple(artifacts))


def ready(process: ModelProcess) -> set[tuple[str, str, str]]:
    """Say which versions are ready, each with the runtime: model, version, runtime."""
    return {(r.model, r.version, r.runtime) for r in process.reported() if r.state == RUNTIME_STATE_READY}


def placed(*versions: Version) -> set[tuple[str, str, str]]:
    """Say the same of these versions when all is as it should be."""
    return {(each.model, each.version, artifact.runtime) for each in versions for artifact in each.artifacts}
