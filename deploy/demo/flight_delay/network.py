"""A wide network in NumPy: how it answers, how it learns, and the graph that is served."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from deploy.demo.flight_delay.adam import Adam
from deploy.demo.flight_delay.bins import Bins
from deploy.demo.flight_delay.builder import GraphBuilder

Array = NDArray[np.float32]

INPUT, PROBABILITY = "input", "probability"
HIDDEN = (1024, 1024, 512)
EPOCHS = 2
BATCH_ROWS = 512
_SCORED_ROWS = 4096


@dataclass(frozen=True)
class Layer:
    """Weights [inputs, outputs] and bias [outputs]."""

    weights: Array
    bias: Array


@dataclass(frozen=True)
class Network:
    """Binned features through rectified layers to the logit of one probability."""

    bins: Bins
    layers: Sequence[Layer]

    def predict_proba(self, features: Array) -> Array:
        """Probability of being on time and of being late [N, 2] for features [N, F]."""
        blocks = range(0, len(features), _SCORED_ROWS)
        logits = [self._activations(features[start : start + _SCORED_ROWS])[-1] for start in blocks]
        late = _sigmoid(np.concatenate(logits))
        return np.concatenate([1 - late, late], axis=1)

    def to_onnx(self, width: int) -> onnx.ModelProto:
        """The graph from `input`, FP32 [N, width], to `probability` of being late, FP32 [N, 1]."""
        graph = GraphBuilder()
        tensor = self.bins.add_to(graph, INPUT)
        for layer in self.layers[:-1]:
            tensor = graph.op("Relu", _dense(graph, tensor, layer))
        late = graph.op("Sigmoid", _dense(graph, tensor, self.layers[-1]))
        return graph.model("network", {INPUT: width}, {PROBABILITY: late}, {PROBABILITY: 1})

    def gradients(self, features: Array, target: Array) -> list[Array]:
        """Of the mean log loss against target probabilities [N]: of each layer's weights and bias, in order."""
        activations = self._activations(features)
        error = (_sigmoid(activations[-1]) - target[:, None]) / np.float32(len(target))
        found: list[Array] = []
        for index in reversed(range(len(self.layers))):
            found += [error.sum(axis=0), activations[index].T @ error]
            if index:
                error = error @ self.layers[index].weights.T
                error *= activations[index] > 0
        return found[::-1]

    def _activations(self, features: Array) -> list[Array]:
        """The input of each layer, then the logits [N, 1]."""
        found = [self.bins.encode(features)]
        for layer in self.layers:
            output = found[-1] @ layer.weights + layer.bias
            found.append(output if layer is self.layers[-1] else np.maximum(output, 0, out=output))
        return found


def fit(features: Array, target: Array, hidden: Sequence[int] = HIDDEN) -> Network:
    """Train on features [N, F] and target probabilities [N]; the same rows give the same network on one machine."""
    random = np.random.default_rng(0)
    bins = Bins.fit(features)
    network = Network(bins, _layers(random, [len(bins.columns), *hidden, 1]))
    batches = max(1, len(target) // BATCH_ROWS)
    adam = Adam([part for layer in network.layers for part in (layer.weights, layer.bias)], EPOCHS * batches)
    for _ in range(EPOCHS):
        for rows in np.array_split(random.permutation(len(target)), batches):
            adam.step(network.gradients(features[rows], target[rows]))
    return network


def _layers(random: np.random.Generator, widths: Sequence[int]) -> list[Layer]:
    *hidden, last = [_layer(random, *shape) for shape in itertools.pairwise(widths)]
    # The first answers are even, so that the first steps go where the target is and not away from a guess.
    return [*hidden, Layer(np.zeros_like(last.weights), last.bias)]


def _layer(random: np.random.Generator, inputs: int, outputs: int) -> Layer:
    # The spread that keeps the signal as large behind a rectifier as in front of it.
    spread = np.float32(np.sqrt(2 / inputs))
    return Layer(random.standard_normal((inputs, outputs), np.float32) * spread, np.zeros(outputs, np.float32))


def _dense(graph: GraphBuilder, tensor: str, layer: Layer) -> str:
    return graph.op("Gemm", tensor, graph.floats(layer.weights), graph.floats(layer.bias))


def _sigmoid(logits: Array) -> Array:
    return np.float32(1) / (np.float32(1) + np.exp(-logits))
