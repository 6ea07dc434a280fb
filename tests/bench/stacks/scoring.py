"""The model, as every stack computes it: ONNX Runtime on one thread, which is quickest for a network so small."""

from __future__ import annotations

import onnxruntime

from tests.bench.stacks.stored import Floats


class Scorer:
    """Scores one row at a time."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def score(self, row: Floats) -> float:
        """Return the score of a row [1, width]."""
        return float(self._session.run(["score"], {"features": row})[0][0, 0])
