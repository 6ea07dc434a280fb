"""Boosted trees of random splits: a row costs nearly as much in a large batch as in a small one, and much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from services.model.versions import TensorSpec
from tests.bench.workload import Floats
from tests.support.onnx_models import OnnxModel, build

TREES, DEPTH = 2000, 6
_SPLITS, _LEAVES = 2**DEPTH - 1, 2**DEPTH


@dataclass(frozen=True)
class Trees:
    """Whole binary trees: a node's children are those at 2n+1, where its feature is at most the limit, and at 2n+2.

    `features` and `limits` are arrays [TREES, splits], `leaves` what they add up to before a sigmoid [TREES, leaves].
    """

    features: npt.NDArray[np.int64]
    limits: Floats
    leaves: Floats

    def scores(self, inputs: Floats) -> Floats:
        """What they answer to rows [rows, width]."""
        at = np.zeros((len(inputs), TREES), np.int64)
        each = np.arange(TREES)
        for _ in range(DEPTH):
            values = np.take_along_axis(inputs, self.features[each, at], axis=1)
            at = 2 * at + 1 + (values > self.limits[each, at])
        summed = self.leaves[each, at - _SPLITS].sum(axis=1)
        scores: Floats = (1 / (1 + np.exp(-summed))).astype(np.float32)
        return scores

    def onnx(self, inputs: TensorSpec, outputs: TensorSpec) -> OnnxModel:
        """The model of them."""
        ensemble = helper.make_node(
            "TreeEnsembleRegressor", [inputs.name], ["summed"], domain="ai.onnx.ml", n_targets=1, **self._attributes()
        )
        made = build([ensemble, helper.make_node("Sigmoid", ["summed"], [outputs.name])], [inputs], [outputs])
        model = onnx.load_from_string(made.content)
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
        return replace(made, content=model.SerializeToString())

    def _attributes(self) -> Mapping[str, Any]:
        places = np.arange(_SPLITS + _LEAVES)
        splits = places < _SPLITS
        values = np.concatenate([self.limits, np.zeros((TREES, _LEAVES))], axis=1)
        features = np.concatenate([self.features, np.zeros((TREES, _LEAVES), np.int64)], axis=1)
        return {
            "nodes_treeids": np.repeat(np.arange(TREES), len(places)).tolist(),
            "nodes_nodeids": np.tile(places, TREES).tolist(),
            "nodes_featureids": features.ravel().tolist(),
            "nodes_values": values.ravel().tolist(),
            "nodes_modes": np.where(splits, "BRANCH_LEQ", "LEAF").tolist() * TREES,
            "nodes_truenodeids": np.tile(np.where(splits, 2 * places + 1, 0), TREES).tolist(),
            "nodes_falsenodeids": np.tile(np.where(splits, 2 * places + 2, 0), TREES).tolist(),
            "target_treeids": np.repeat(np.arange(TREES), _LEAVES).tolist(),
            "target_nodeids": np.tile(places[~splits], TREES).tolist(),
            "target_ids": [0] * TREES * _LEAVES,
            "target_weights": self.leaves.ravel().tolist(),
        }


def trees(seed: int, width: int) -> Trees:
    """Make them; the same for the same seed."""
    random = np.random.default_rng(seed)
    return Trees(
        random.integers(0, width, (TREES, _SPLITS)),
        random.normal(size=(TREES, _SPLITS)).astype(np.float32),
        (random.normal(size=(TREES, _LEAVES)) / np.sqrt(TREES)).astype(np.float32),
    )
