"""The workload `bench-mlp`: three entity keys, three views, 16 FP32 into a small MLP, answers known beforehand.

Others like it have other views, or another name.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest
from predictmesh.types.v1.tensor_pb2 import Tensor

ENDPOINT = "bench-mlp"
KEYS = 1000
WIDTHS = {"rider": 4, "driver": 4, "zone": 8}
HIDDEN = (64, 32)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Workload:
    """Stored values by view [KEYS, width], and the answer for each row of keys [KEYS]."""

    endpoint: str
    values: dict[str, Floats]
    answers: Floats
    columns: dict[str, list[str]]

    def requests(self, rows: int) -> list[tuple[bytes, Floats]]:
        """Return serialized requests of `rows` rows, with their answers."""
        found = []
        for start in range(0, KEYS - rows + 1, rows):
            entities = [
                Tensor(name=name, strings=column[start : start + rows]) for name, column in self.columns.items()
            ]
            request = PredictRequest(endpoint=self.endpoint, entities=entities)
            found.append((request.SerializeToString(), self.answers[start : start + rows]))
        return found


def make(directory: Path, endpoint: str = ENDPOINT, widths: Mapping[str, int] = WIDTHS) -> Workload:
    """Write model, definitions and values into `directory` and return what must be answered; `widths` are the views'."""
    random = np.random.default_rng(7)
    values = {view: random.normal(size=(KEYS, width)).astype(np.float32) for view, width in widths.items()}
    # Each row mixes keys, so that an answer for the wrong entity is a wrong answer.
    order = {view: random.permutation(KEYS) for view in widths}
    inputs = np.concatenate([values[view][order[view]] for view in widths], axis=1)
    weights = _weights(random, inputs.shape[1])
    (directory / "model.onnx").write_bytes(_model(weights).SerializeToString())
    _write_definitions(directory, endpoint, widths)
    for view, rows in values.items():
        _write_values(directory / f"{view}.csv", view, rows)
    columns = {view: [f"{view}-{key}" for key in order[view]] for view in widths}
    return Workload(endpoint, values, _computed(inputs, weights), columns)


def _weights(random: np.random.Generator, width: int) -> list[tuple[Floats, Floats]]:
    sizes = (width, *HIDDEN, 1)
    return [
        (
            (random.normal(size=(before, after)) / np.sqrt(before)).astype(np.float32),
            random.normal(size=after).astype(np.float32),
        )
        for before, after in itertools.pairwise(sizes)
    ]


def _computed(inputs: Floats, weights: list[tuple[Floats, Floats]]) -> Floats:
    layer = inputs
    for matrix, bias in weights[:-1]:
        layer = np.maximum(layer @ matrix + bias, 0)
    matrix, bias = weights[-1]
    scores: Floats = (1 / (1 + np.exp(-(layer @ matrix + bias))))[:, 0].astype(np.float32)
    return scores


def _model(weights: list[tuple[Floats, Floats]]) -> onnx.ModelProto:
    nodes, constants, layer = [], [], "features"
    for number, (matrix, bias) in enumerate(weights):
        constants += [numpy_helper.from_array(matrix, f"w{number}"), numpy_helper.from_array(bias, f"b{number}")]
        nodes.append(helper.make_node("Gemm", [layer, f"w{number}", f"b{number}"], [f"z{number}"]))
        last = number == len(weights) - 1
        layer = "score" if last else f"a{number}"
        nodes.append(helper.make_node("Sigmoid" if last else "Relu", [f"z{number}"], [layer]))
    width = weights[0][0].shape[0]
    graph = helper.make_graph(
        nodes,
        "bench-mlp",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _write_definitions(directory: Path, endpoint: str, widths: Mapping[str, int]) -> None:
    views = [
        {
            "kind": "FeatureView",
            "name": view,
            "entity": {"name": view, "keys": [{"name": view, "type": "string"}]},
            "fields": [{"name": f"f{index}", "type": "FP32"} for index in range(width)],
        }
        for view, width in widths.items()
    ]
    sources = [f"{view}:f{index}" for view, width in widths.items() for index in range(width)]
    version = {
        "kind": "Version",
        "model": endpoint,
        "version": "1.0.0",
        "inputs": [{"name": "features", "type": "FP32", "shape": [len(sources)], "sources": sources}],
        "outputs": [{"name": "score", "type": "FP32", "shape": [1]}],
    }
    route = {"kind": "Endpoint", "name": endpoint, "model": endpoint, "route": {"version": "1.0.0"}}
    model = {"kind": "Model", "name": endpoint}
    (directory / "views.yaml").write_text(yaml.safe_dump_all([*views, model]))
    (directory / "version.yaml").write_text(yaml.safe_dump(version))
    (directory / "endpoint.yaml").write_text(yaml.safe_dump(route))


def _write_values(path: Path, view: str, rows: Floats) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([view, *(f"f{index}" for index in range(rows.shape[1]))])
        writer.writerows([f"{view}-{key}", *map(float, row)] for key, row in enumerate(rows))
