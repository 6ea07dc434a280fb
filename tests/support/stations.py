"""Runtimes of a version for tests of what lies above them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from services.model.batcher import Batcher
from services.model.calls import InferCall
from services.model.datatypes import Array
from services.model.runtimes import LoadedModel
from services.model.schedule import Limits
from services.model.station import Station
from services.model.versions import Artifact, Placement, Signature, TensorSpec, Version

SIGNATURE = Signature((TensorSpec("x", "FP32", ()),), (TensorSpec("y", "FP32", ()),))
LIMITS = Limits(batch_rows=4, rows_in_flight=8)


def station(model: LoadedModel, runtime: str = "onnx", signature: Signature = SIGNATURE) -> Station:
    """Put a model on a runtime of that name; its cost is not known yet."""
    version = Version("m", "1.0.0", "0" * 64, signature, (Artifact(runtime, "1" * 64),))
    return Station(Placement(version, version.artifacts[0]), model)


def batcher(
    *stations: Station, limits: Limits = LIMITS, signature: Signature = SIGNATURE, first_choice: str = ""
) -> Batcher:
    """Make the queue in front of some runtimes."""
    made = Batcher(signature, limits)
    made.use(stations, first_choice or stations[0].runtime)
    return made


def call(
    *values: float, dtype: type = np.float32, left_ms: Sequence[float] | None = None, left_s: float = 60.0
) -> InferCall:
    """Make a call: judged by row if it has `left_ms`, the time of each row, and as a whole with `left_s` otherwise."""
    now = time.monotonic()
    inputs: dict[str, Array] = {"x": np.array(values, dtype)}
    if left_ms is None:
        return InferCall(inputs, len(values), now + left_s)
    deadlines = [now + left / 1000 for left in left_ms]
    return InferCall(inputs, len(values), min(deadlines), by_row=True, deadlines=deadlines)
