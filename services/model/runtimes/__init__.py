"""The port behind which models run: ONNX Runtime in this process, or an inference server beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from services.model.datatypes import Array
from services.model.versions import Version


class LoadedModel(Protocol):
    """One version, loaded. Its callers keep to the signature."""

    parallel: int
    """Batches that it can work on at once; more would only queue where nobody sees them."""

    async def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute every output of the signature for one batch; all inputs have the same number of rows.

        Raises RuntimeFailed or InvalidArgument when the values are at fault, and another MeshError when the runtime is.
        Cancelling it drops the batch.
        """

    async def close(self) -> None:
        """Free what it holds. No call is under way and none will come."""


class Runtime(Protocol):
    """Something that loads artifacts of one kind."""

    name: str
    """As artifacts name it."""
    platform: str
    """As the Open Inference Protocol's metadata names it."""

    async def load(self, version: Version, artifact: Path) -> LoadedModel:
        """Load a version from its verified artifact, without blocking the event loop.

        Several versions of a model may be loaded at once, and a version a second time under another digest. Raises
        InvalidArtifact, or SignatureMismatch with a violation for each difference. When it fails or is cancelled,
        nothing stays loaded.
        """
