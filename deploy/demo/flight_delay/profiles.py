"""Training profile: how each input element was distributed, for a later comparison with what is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 20


def training_profile(columns: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """By source: null_fraction, and edges and counts of up to 20 quantile bins; only the last holds its upper edge."""
    return {name: _profile(column) for name, column in columns.items()}


def _profile(column: NDArray[np.float32]) -> dict[str, Any]:
    known = column[~np.isnan(column)].astype(np.float64)
    # A frequent value fills several quantiles: they become one bin.
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1))) if known.size else np.empty(0)
    counts = np.histogram(known, edges)[0] if edges.size > 1 else np.full(edges.size, known.size)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "null_fraction": float(np.isnan(column).mean())}
