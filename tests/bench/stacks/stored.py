"""How the other stacks keep features: a key for each entity, its FP32 packed. There is no less to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

VIEWS = ("rider", "driver", "zone")

Floats = npt.NDArray[np.float32]


def key(view: str, entity: str) -> str:
    """Return where the features of an entity are."""
    return f"packed:{view}:{entity}"


def packed(values: Mapping[str, Floats]) -> dict[str, bytes]:
    """Return everything to store, by key; `values` are by view, [entities, width]."""
    return {
        key(view, f"{view}-{entity}"): row.astype("<f4").tobytes()
        for view, rows in values.items()
        for entity, row in enumerate(rows)
    }


def row(found: Sequence[bytes | str | None]) -> Floats:
    """Return the model's input [1, width] from what was read for each view; raises LookupError where something is absent."""
    present = [values for values in found if isinstance(values, bytes)]
    if len(present) < len(found):
        raise LookupError("no features are stored for an entity")
    return np.frombuffer(b"".join(present), "<f4").reshape(1, -1)
