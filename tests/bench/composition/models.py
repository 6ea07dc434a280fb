"""The models of the compositions, and what they answer: the entities and features of `bench-mlp`, a score a row."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.model.versions import TensorSpec
from tests.bench.composition.trees import Trees
from tests.bench.workload import HIDDEN, KEYS, WIDTHS, Floats
from tests.support.onnx_models import OnnxModel, build

WIDTH = sum(WIDTHS.values())
SURE = 0.8
"""Share of the rows that the first stage of the cascade is sure of."""

FEATURES = TensorSpec("features", "FP32", (WIDTH,))
SCORE = TensorSpec("score", "FP32", (1,), finite=True)


@dataclass(frozen=True)
class Network:
    """Dense layers, matrix and bias of each, with ReLU between them and a sigmoid at the end."""

    layers: Sequence[tuple[Floats, Floats]]

    def scores(self, inputs: Floats) -> Floats:
        """What it answers to rows [rows, WIDTH]."""
        layer = inputs
        for matrix, bias in self.layers[:-1]:
            layer = np.maximum(layer @ matrix + bias, 0)
        matrix, bias = self.layers[-1]
        return sigmoid(layer @ matrix + bias)[:, 0]

    @property
    def onnx(self) -> OnnxModel:
        """The model of it."""
        nodes, weights = self.nodes(SCORE.name)
        return build(nodes, [FEATURES], [SCORE], weights)

    def nodes(self, output: str) -> tuple[list[NodeProto], dict[str, npt.NDArray[Any]]]:
        """What computes the output from the features, and its weights by name."""
        weights: dict[str, npt.NDArray[Any]] = {}
        nodes, last = [], FEATURES.name
        for number, (matrix, bias) in enumerate(self.layers):
            weights |= {f"w{number}": matrix, f"b{number}": bias}
            nodes.append(helper.make_node("Gemm", [last, f"w{number}", f"b{number}"], [f"z{number}"]))
            final = number == len(self.layers) - 1
            last = output if final else f"a{number}"
            nodes.append(helper.make_node("Sigmoid" if final else "Relu", [f"z{number}"], [last]))
        return nodes, weights


def network(seed: int) -> Network:
    """Make a small network; the same for the same seed."""
    random = np.random.default_rng(seed)
    return Network([_layer(random, *sizes) for sizes in itertools.pairwise((WIDTH, *HIDDEN, 1))])


def _layer(random: np.random.Generator, before: int, after: int) -> tuple[Floats, Floats]:
    matrix = (random.normal(size=(before, after)) * np.sqrt(2 / before)).astype(np.float32)
    return matrix, (random.normal(size=after) / 4).astype(np.float32)


@dataclass(frozen=True)
class Affine:
    """Scales and shifts `inputs` to `outputs`, of one shape: what is done before a model, and after it."""

    inputs: TensorSpec
    outputs: TensorSpec
    scale: Floats
    shift: Floats

    def values(self, inputs: Floats) -> Floats:
        """What it gives for rows."""
        return inputs * self.scale + self.shift

    @property
    def onnx(self) -> OnnxModel:
        """The model of it."""
        nodes: list[NodeProto] = [
            helper.make_node("Mul", [self.inputs.name, "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "shift"], [self.outputs.name]),
        ]
        return build(nodes, [self.inputs], [self.outputs], {"scale": self.scale, "shift": self.shift})


def before() -> Affine:
    """What is done before the model of the pipeline."""
    random = np.random.default_rng(41)
    scale, shift = random.uniform(0.5, 1.5, WIDTH), random.normal(size=WIDTH)
    return Affine(
        FEATURES, TensorSpec("scaled_features", "FP32", (WIDTH,)), scale.astype(np.float32), shift.astype(np.float32)
    )


def after() -> Affine:
    """What is done after it."""
    raw = TensorSpec("raw_score", "FP32", (1,))
    return Affine(raw, SCORE, np.array([0.9], np.float32), np.array([0.05], np.float32))


@dataclass(frozen=True)
class Rows:
    """Rows to ask for: stored values by view [KEYS, width], key columns, and the features of each row [KEYS, WIDTH]."""

    values: dict[str, Floats]
    columns: dict[str, list[str]]
    features: Floats

    def requests(
        self,
        endpoint: str,
        answers: npt.NDArray[Any],
        given: Mapping[str, npt.NDArray[Any]] | None = None,
        *,
        stored: bool = True,
    ) -> list[tuple[bytes, list[float]]]:
        """A serialized request for each row, with its answer.

        `given` are request-time features [KEYS] or [KEYS, width]; without `stored` ones there are no entity keys.
        """
        columns = self.columns if stored else {}
        return [
            (_request(endpoint, columns, given or {}, slice(row, row + 1)), np.atleast_1d(answers[row]).tolist())
            for row in range(KEYS)
        ]

    def batches(self, endpoint: str, given: Mapping[str, npt.NDArray[Any]], size: int) -> Iterator[bytes]:
        """Serialized requests of so many rows, for all of them."""
        for start in range(0, KEYS, size):
            yield _request(endpoint, self.columns, given, slice(start, start + size))


def rows() -> Rows:
    """Make them; the same each time."""
    random = np.random.default_rng(7)
    values = {view: random.normal(size=(KEYS, width)).astype(np.float32) for view, width in WIDTHS.items()}
    # Each row mixes keys, so that an answer for the wrong entity is a wrong answer.
    order = {view: random.permutation(KEYS) for view in WIDTHS}
    columns = {view: [f"{view}-{key}" for key in order[view]] for view in WIDTHS}
    return Rows(values, columns, np.concatenate([values[view][order[view]] for view in WIDTHS], axis=1))


def _request(
    endpoint: str, columns: Mapping[str, Sequence[str]], given: Mapping[str, npt.NDArray[Any]], rows: slice
) -> bytes:
    entities = [Tensor(name=name, strings=keys[rows]) for name, keys in columns.items()]
    features = [_tensor(name, values[rows].ravel()) for name, values in given.items()]
    return PredictRequest(endpoint=endpoint, entities=entities, features=features).SerializeToString()


def _tensor(name: str, values: npt.NDArray[Any]) -> Tensor:
    return Tensor(name=name, ints=values) if values.dtype.kind == "i" else Tensor(name=name, floats=values)


@dataclass(frozen=True)
class Staged:
    """Two stages, and the confidence from which on the first one's answer stands: for the share SURE of the rows."""

    first: Network
    second: Trees
    rows: Rows
    sure: np.ndarray[tuple[int], np.dtype[np.bool_]] = field(init=False)
    threshold: float = field(init=False)

    def __post_init__(self) -> None:
        scores = self.first.scores(self.rows.features).astype(np.float64)
        confidence = np.maximum(scores, 1 - scores)
        ranked = np.sort(confidence)
        unsure = round(KEYS * (1 - SURE))
        object.__setattr__(self, "threshold", float(ranked[unsure - 1 : unsure + 1].mean()))
        object.__setattr__(self, "sure", confidence >= self.threshold)

    @property
    def answers(self) -> Floats:
        """What the cascade answers."""
        return np.where(self.sure, self.first.scores(self.rows.features), self.second.scores(self.rows.features))


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-values))."""
    shares: Floats = (1 / (1 + np.exp(-values))).astype(np.float32)
    return shares
