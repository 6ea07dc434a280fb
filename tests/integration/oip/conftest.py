"""A running `up` beside a real MLServer, and versions of a model of which that server is the first choice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from onnx import helper

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.model.versions import TensorSpec
from tests.support.commands import Outcome, run, succeed
from tests.support.mlserver import MlServer, mlserver
from tests.support.onnx_models import OnnxModel, build
from tests.worlds.up import up

TIMEOUT_S = 10.0
DEFINITIONS = """\
kind: FeatureView
name: plane
entity: {name: plane, keys: [{name: tail, type: string}]}
fields:
- {name: late, type: FP32, default: 0.5}
- {name: pair, type: FP32, length: 2, default: [1, 1]}
- {name: carrier, type: BYTES, default: "UA"}
---
kind: Model
name: delay
"""
ENDPOINT = """\
kind: Endpoint
name: delay
model: delay
route: {version: 1.0.0}
"""
VERSION = """\
kind: Version
model: delay
version: VERSION
inputs:
- {name: x, type: FP32, shape: [4], sources: ["plane:late", "plane:pair", "request:distance"]}
- {name: t, type: BYTES, sources: ["request:word"]}
outputs:
- {name: y, type: FP32, shape: [1]}
- {name: k, type: INT64}
"""


def fallback() -> OnnxModel:
    """The same signature as MLServer's model; y is the sum of x, and k is below zero, as no length is."""
    nodes = [
        helper.make_node("MatMul", ["x", "ones"], ["y"]),
        helper.make_node("ArgMax", ["x"], ["greatest"], axis=1, keepdims=0),
        helper.make_node("BitwiseNot", ["greatest"], ["k"]),
    ]
    inputs = [TensorSpec("x", "FP32", (4,)), TensorSpec("t", "BYTES", ())]
    outputs = [TensorSpec("y", "FP32", (1,)), TensorSpec("k", "INT64", ())]
    return build(nodes, inputs, outputs, {"ones": np.ones((4, 1), np.float32)})


@dataclass(frozen=True)
class World:
    """A running `up`, the MLServer beside it, and a directory for files."""

    server: MlServer
    gateway: PredictionServiceStub
    data: Path
    files: Path

    @property
    def at(self) -> tuple[str, str]:
        """The option that makes commands find it."""
        return "--data", str(self.data)

    def register(self, version: str, target: str, *options: str, document: str = VERSION) -> Outcome:
        """Register a version whose first choice is `target`, and wait until a runtime serves it."""
        file = self.files / f"{version}.yaml"
        file.write_text(document.replace("VERSION", version))
        oip = ("--runtime", "oip", "--target", target)
        return run("models", "register", "-f", file, *oip, *options, "--wait", "30s", *self.at)

    @property
    def onnx(self) -> tuple[str, str]:
        """The option that adds the fallback."""
        return "--artifact", f"onnx={self.files / 'fallback.onnx'}"

    @contextmanager
    def away(self) -> Iterator[None]:
        """Kill the server, and start it again at the end of the context."""
        self.server.kill()
        try:
            yield
        finally:
            self.server.start()

    def predict(self, version: str, *words: str) -> PredictResponse:
        """Predict a row for each word, each of a plane of which nothing is stored: x is 0.5, 1, 1 and 7."""
        features = [Tensor(name="distance", floats=[7.0] * len(words)), Tensor(name="word", strings=words)]
        entities = [Tensor(name="tail", strings=["N1"] * len(words))]
        request = PredictRequest(endpoint="delay", version=version, entities=entities, features=features)
        return self.gateway.Predict(request, timeout=TIMEOUT_S)


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Version 1.0.0 has nothing but MLServer, 1.1.0 falls back to ONNX Runtime."""
    # What the machine has set would send commands and spans elsewhere.
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PREDICTMESH_", "OTEL_"))]:
            patch.delenv(name)
        directory, files = tmp_path_factory.mktemp("up"), tmp_path_factory.mktemp("files")
        (files / "definitions.yaml").write_text(DEFINITIONS)
        (files / "endpoint.yaml").write_text(ENDPOINT)
        (files / "fallback.onnx").write_bytes(fallback().content)
        with (
            mlserver(tmp_path_factory.mktemp("mlserver")) as server,
            up(directory, "--topology", "monolith", "--log-level", "warning") as running,
            grpc.insecure_channel(running.addresses.gateway) as channel,
        ):
            made = World(server, PredictionServiceStub(channel), directory / "data", files)
            succeed("apply", "-f", files / "definitions.yaml", *made.at)
            for version, options in (("1.0.0", ()), ("1.1.0", made.onnx)):
                outcome = made.register(version, f"{server.grpc}/lengths/3", *options)
                assert 0 == outcome.code, outcome.err
            succeed("apply", "-f", files / "endpoint.yaml", *made.at)
            yield made
