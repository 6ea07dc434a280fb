"""Numbers as a network learns from them best: one input for each stretch of a feature's range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.demo.flight_delay.builder import GraphBuilder

BINS = 8


@dataclass(frozen=True)
class Bins:
    """Piecewise-linear encoding: how far a feature's value has come through each of its bins, from -1 to 1.

    Of each bin: the column of its feature, its middle and half of its width.
    """

    columns: NDArray[np.int64]
    middle: NDArray[np.float32]
    half: NDArray[np.float32]

    @classmethod
    def fit(cls, features: NDArray[np.float32]) -> Bins:
        """Up to 8 bins with equal shares of the rows for each feature; none for one that never changes."""
        # Edges are values that occur: between two, an edge might lie too close to the next.
        edges = [np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1), method="nearest")) for column in features.T]
        columns = np.repeat(np.arange(len(edges)), [len(each) - 1 for each in edges])
        low, high = (np.concatenate([each[part] for each in edges]) for part in (slice(-1), slice(1, None)))
        return cls(columns, ((low + high) / 2).astype(np.float32), ((high - low) / 2).astype(np.float32))

    def encode(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features [N, F] as [N, bins]."""
        encoded = (features[:, self.columns] - self.middle) / self.half
        return np.clip(encoded, -1, 1, out=encoded)

    def add_to(self, graph: GraphBuilder, features: str) -> str:
        """The same in a graph: the tensor of the encoded features."""
        gathered = graph.op("Gather", features, graph.integers(self.columns.tolist()), axis=1)
        centred = graph.op("Sub", gathered, graph.floats(self.middle))
        return graph.op(
            "Clip", graph.op("Div", centred, graph.floats(self.half)), graph.floats(-1.0), graph.floats(1.0)
        )
