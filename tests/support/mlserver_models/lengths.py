"""A model as people write them for MLServer. It runs there, in an environment without predictmesh."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse


class Lengths(MLModel):  # type: ignore[misc]  # no types here
    """k INT64 [n] is the length of each text t BYTES [n]; y FP32 [n] is the sum of the row x FP32 [n, 4], plus k.

    A text `refuse` is refused as no fit input, and `fail` is a bug.
    """

    async def load(self) -> bool:
        """Be ready at once."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Compute one batch."""
        inputs = {each.name: each for each in payload.inputs}
        texts = inputs["t"].data.root
        if b"refuse" in texts:
            raise InferenceError("told to refuse")
        if b"fail" in texts:
            raise RuntimeError("told to fail")
        k = np.array([len(text) for text in texts], np.int64)
        y = NumpyCodec.decode_input(inputs["x"]).sum(axis=1) + k
        outputs = [NumpyCodec.encode_output("y", y.astype(np.float32)), NumpyCodec.encode_output("k", k)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
