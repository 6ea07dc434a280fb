"""A model and a runtime whose pace and failures a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from services.mesh.errors import DeadlineExceeded, MeshError
from services.model.datatypes import Array
from services.model.errors import RuntimeFailed
from services.model.versions import Placement


class GatedModel:
    """Answers y = x + `offset` once `gate` is open, and notes what it was asked and whether it is closed.

    With a `failure` it raises that instead. With `prompt` it gives up when its time is over, as a server elsewhere does.
    """

    platform = "gated"

    def __init__(self, offset: float = 0, parallel: int = 1, ahead: int = 0, *, prompt: bool = False) -> None:
        self.parallel = parallel
        self.ahead = ahead
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: MeshError | None = None
        self.batches: list[list[float]] = []
        self.timeouts_s: list[float] = []
        self.cancelled = 0
        self.revived = 0
        self.closed = False
        self._offset = offset
        self._prompt = prompt

    async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
        assert not self.closed, "a closed model was asked"
        self.batches.append(inputs["x"].tolist())
        self.timeouts_s.append(timeout_s)
        try:
            async with asyncio.timeout(timeout_s if self._prompt else None):
                await self.gate.wait()
        except TimeoutError as error:
            raise DeadlineExceeded("the time was over") from error
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure:
            raise self.failure
        return {"y": inputs["x"] + inputs["x"].dtype.type(self._offset)}

    async def revive(self) -> None:
        self.revived += 1
        if self.failure:
            raise self.failure

    async def close(self) -> None:
        self.closed = True


class PickyModel(GatedModel):
    """Fails on batches that hold a 13."""

    async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
        answered = await super().infer(inputs, timeout_s)
        if 13 in inputs["x"]:
            raise RuntimeFailed("thirteen")
        return answered


class GatedRuntime:
    """Loads GatedModels, whose offset is the content of the artifact; `failures` are raised first, `gate` delays."""

    def __init__(self, name: str = "onnx") -> None:
        self.name = name
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[Exception] = []
        self.loaded: list[GatedModel] = []
        self.loading = 0

    async def load(self, placement: Placement, artifact: Path | None) -> GatedModel:
        assert artifact is not None
        self.loading += 1
        try:
            await self.gate.wait()
        finally:
            self.loading -= 1
        if self.failures:
            raise self.failures.pop(0)
        model = GatedModel(float(artifact.read_text()))
        self.loaded.append(model)
        return model
