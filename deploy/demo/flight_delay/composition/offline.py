"""What the composed versions answer, from the offline scores of the versions that they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray

HERE = Path(__file__).parent

Scores = Mapping[str, ArrayLike]
"""Probabilities [departures] by version."""


@dataclass(frozen=True)
class Cascade:
    """`first` answers where the more likely of its two outcomes has at least `threshold`, else `second`."""

    first: str
    second: str
    threshold: float

    def sure(self, scores: Scores) -> NDArray[np.bool_]:
        """Return whether the first stage answers [departures]."""
        late = np.asarray(scores[self.first], np.float64)
        found: NDArray[np.bool_] = np.maximum(late, 1 - late) >= self.threshold
        return found

    def score(self, scores: Scores) -> NDArray[np.float32]:
        """Return the probabilities [departures]."""
        first, second = (np.asarray(scores[version], np.float32) for version in (self.first, self.second))
        return np.where(self.sure(scores), first, second)


@dataclass(frozen=True)
class Ensemble:
    """The mean of versions by weight."""

    weights: Mapping[str, float]

    def score(self, scores: Scores) -> NDArray[np.float32]:
        """Return the probabilities [departures]."""
        versions, weights = list(self.weights), list(self.weights.values())
        members = np.array([np.asarray(scores[version], np.float64) for version in versions])
        return np.average(members, axis=0, weights=weights).astype(np.float32)


def read_cascade(file: Path = HERE / "3.0.0.yaml") -> Cascade:
    """Return the cascade of a Version's file, of two stages."""
    nodes = _nodes(file)
    (stages,) = (node["cascade"] for node in nodes.values() if "cascade" in node)
    first, second = (_version(nodes, stage["node"]) for stage in stages)
    return Cascade(first, second, stages[0]["threshold"])


def read_ensemble(file: Path = HERE / "3.1.0.yaml") -> Ensemble:
    """Return the weighted mean of a Version's file."""
    nodes = _nodes(file)
    (members,) = (node["of"] for node in nodes.values() if "ensemble" in node)
    return Ensemble({_version(nodes, port.split(".")[0]): weight for port, weight in members.items()})


def _nodes(file: Path) -> dict[str, dict[str, Any]]:
    nodes: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["graph"]["nodes"]
    return nodes


def _version(nodes: Mapping[str, Mapping[str, Any]], name: str) -> str:
    model: str = nodes[name]["model"]
    return model.partition("@")[2]
