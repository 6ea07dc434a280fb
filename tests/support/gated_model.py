"""A model and a runtime whose pace a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from services.model.datatypes import Array
from services.model.versions import Placement


class GatedModel:
    """Answers y = x + `offset` once `gate` is open, and notes what it was asked and whether it is closed."""

    platform = "gated"
    ahead = 0

    def __init__(self, offset: float = 0, parallel: int = 1) -> None:
        self.parallel = parallel
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches: list[list[float]] = []
        self.closed = False
        self._offset = offset

    async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
        assert not self.closed, "a closed model was asked"
        self.batches.append(inputs["x"].tolist())
        await self.gate.wait()
        return {"y": inputs["x"] + inputs["x"].dtype.type(self._offset)}

    async def revive(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True


class GatedRuntime:
    """Loads GatedModels, whose offset is the content of the artifact; `failures` are raised first, `gate` delays."""

    name = "onnx"

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[Exception] = []
        self.loaded: list[GatedModel] = []
        self.loading = 0

    async def load(self, placement: Placement, artifact: Path | None) -> GatedModel:
        self.loading += 1
        try:
            await self.gate.wait()
        finally:
            self.loading -= 1
        if self.failures:
            raise self.failures.pop(0)
        assert artifact is not None
        model = GatedModel(float(artifact.read_text()))
        self.loaded.append(model)
        return model
