"""Models and their versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.registry.definitions.graphs import Graph
from services.registry.definitions.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class FieldSource:
    """A field of a view."""

    view: str
    field: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where an element comes from: exactly one of the three is set."""

    field: FieldSource | None = None
    age_of_view: str = ""
    request: str = ""

    @property
    def view(self) -> str:
        """Name of the view that is read; empty for a request-time value."""
        return self.field.view if self.field else self.age_of_view


@dataclass(frozen=True, slots=True)
class InputBinding:
    """The sources of one input, element by element."""

    input: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version's bytes for one runtime, by the SHA-256 (hex) under which they are stored; no format: onnx.

    Or, without bytes, the `target` of a server that has the model.
    """

    runtime: str
    sha256: str = ""
    size_bytes: int = 0
    format: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class FeatureHistogram:
    """Training distribution of one element: one more count than edges."""

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    null_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainingProfile:
    """Training distribution of a version's inputs, made from `rows` rows."""

    features: tuple[FeatureHistogram, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """Recorded inputs and outputs: the SHA-256 (hex) under which they are stored, and how far off an output may be."""

    sha256: str
    size_bytes: int = 0
    absolute_tolerance: float = 0.0
    relative_tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version of a model. The registry gives `create_time` (UTC) and `digest`.

    A composed version has a `graph` and no artifacts; the registry gives its signature and bindings too.
    """

    version: str
    signature: Signature
    bindings: tuple[InputBinding, ...]
    artifacts: tuple[Artifact, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    training_profile: TrainingProfile | None = None
    create_time: datetime | None = None
    digest: str = ""
    golden: GoldenSet | None = None
    graph: Graph | None = None


@dataclass(frozen=True, slots=True)
class MetricGate:
    """What a metric of a version must be before it may answer callers; at least one of the bounds is set."""

    metric: str
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """Versions that answer the same question, oldest first, and the aliases that name some of them.

    `released_versions` are those that ranges lead to.
    """

    name: str
    description: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    versions: tuple[Version, ...] = ()
    released_versions: tuple[str, ...] = ()
    metric_gates: tuple[MetricGate, ...] = ()

    def find(self, version: str) -> Version | None:
        """The version of that number, if there is one."""
        return next((each for each in self.versions if each.version == version), None)
