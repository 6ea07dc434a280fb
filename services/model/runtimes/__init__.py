"""The port behind which models run: ONNX Runtime in this process, or an inference server beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from services.model.datatypes import Array
from services.model.versions import Placement


class LoadedModel(Protocol):
    """One version, loaded. Its callers keep to the signature."""

    platform: str
    """What computes it, as the Open Inference Protocol's metadata names it."""
    parallel: int
    """Batches that it works on at once."""

    @property
    def ahead(self) -> int:
        """Batches that may stand behind those, so that it need not wait for the next; more would only queue unseen."""

    async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
        """Compute every output of the signature for one batch; all inputs have the same number of rows.

        RuntimeFailed, InvalidArgument or InvalidOutput may be the fault of the values; any other MeshError is the
        runtime's: DeadlineExceeded when it has not answered after `timeout_s`, UpstreamUnavailable when it cannot be
        reached or has lost the model. One that computes in this process may overrun `timeout_s`. Cancelling drops the
        batch.
        """

    async def revive(self) -> None:
        """Bring back what the runtime has lost, e.g. by a restart; nothing if it has lost nothing.

        Raises a MeshError while that fails. Called, one at a time, while its batches fail.
        """

    async def close(self) -> None:
        """Free what it holds. No call is under way and none will come."""


class Runtime(Protocol):
    """Something that loads artifacts of one kind."""

    name: str
    """As artifacts name it."""

    async def load(self, placement: Placement, artifact: Path | None) -> LoadedModel:
        """Load a version from its verified artifact, without blocking the event loop; None where it has no bytes.

        Several versions of a model may be loaded at once, and a version a second time under another digest. Raises
        InvalidArtifact, SignatureMismatch with a violation for each difference, or UpstreamUnavailable. When it fails
        or is cancelled, nothing stays loaded.
        """
