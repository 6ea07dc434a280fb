"""Training profile: how each input element was distributed, for a later comparison with what is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 20


def training_profile(columns: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """The profile in the form of a version file: rows, and a histogram of up to 20 quantile bins for each source.

    `edges` are the upper edges, inclusive, of all bins but the last; `counts` is one longer and leaves out nulls.
    """
    rows = max((len(column) for column in columns.values()), default=0)
    return {"rows": rows, "features": [{"name": name, **_histogram(column)} for name, column in columns.items()]}


def _histogram(column: NDArray[np.float32]) -> dict[str, Any]:
    missing = np.isnan(column)
    known = column[~missing].astype(np.float64)
    edges = _inner_quantiles(known) if known.size else np.empty(0)
    counts = np.bincount(np.searchsorted(edges, known), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "null_fraction": float(missing.mean())}


def _inner_quantiles(known: NDArray[np.float64]) -> NDArray[np.float64]:
    # A frequent value fills several quantiles: they become one bin. At the greatest value nothing would lie above.
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    below: NDArray[np.float64] = edges[edges < known.max()]
    return below
