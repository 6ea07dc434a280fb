"""What the registry defines, as far as a model process needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from services.model.datatypes import FLOATS


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named input or output. `shape` has the dimensions of one row; the leading batch dimension is implied."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    finite: bool = False

    def batch_shape(self, rows: int) -> tuple[int, ...]:
        """Say the shape of so many rows."""
        return (rows, *self.shape)


@dataclass(frozen=True)
class Signature:
    """Names, types and shapes of a model's inputs and outputs, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @cached_property
    def input_named(self) -> dict[str, TensorSpec]:
        """Inputs by name."""
        return {spec.name: spec for spec in self.inputs}

    @cached_property
    def output_named(self) -> dict[str, TensorSpec]:
        """Outputs by name."""
        return {spec.name: spec for spec in self.outputs}

    @cached_property
    def finite_inputs(self) -> tuple[str, ...]:
        """Inputs in which NaN and infinity are refused."""
        return _finite(self.inputs)

    @cached_property
    def finite_outputs(self) -> tuple[str, ...]:
        """Outputs in which NaN and infinity are refused."""
        return _finite(self.outputs)


@dataclass(frozen=True, slots=True)
class Artifact:
    """Bytes of a version for one runtime, by their SHA-256 (hex), or the `target` of a server that has the model."""

    runtime: str
    sha256: str
    format: str = "onnx"
    target: str = ""


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """Recorded inputs and outputs, by the SHA-256 (hex) of their bytes; an element may differ by the sum of both."""

    sha256: str
    absolute_tolerance: float = 0.0
    relative_tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version of a model. The artifact of the first choice stands first."""

    model: str
    version: str
    digest: str
    signature: Signature
    artifacts: tuple[Artifact, ...]
    golden: GoldenSet | None = None

    @property
    def uploads(self) -> frozenset[str]:
        """Digests of everything that it has in object storage."""
        golden = {self.golden.sha256} if self.golden else set()
        return frozenset(artifact.sha256 for artifact in self.artifacts if artifact.sha256) | golden

    @property
    def precedence(self) -> tuple[int, ...]:
        """Order of semantic versions; a part that is no number comes first."""
        return tuple(int(part) if part.isdecimal() else -1 for part in self.version.split("."))

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"


Catalog: TypeAlias = Mapping[str, Sequence[Version]]
"""Every model of a snapshot with its versions."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One version on one runtime of this process."""

    version: Version
    artifact: Artifact

    @property
    def key(self) -> tuple[str, str, str]:
        """Model, version and runtime: what stays when the content changes."""
        return self.version.model, self.version.version, self.artifact.runtime

    def __str__(self) -> str:
        return f"{self.version} on {self.artifact.runtime}"


def _finite(specs: Sequence[TensorSpec]) -> tuple[str, ...]:
    return tuple(spec.name for spec in specs if spec.finite and spec.datatype in FLOATS)
