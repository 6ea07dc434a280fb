"""What the registry defines. Shaped and named as the messages of registry/v1, so that a field path holds for both."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


class DataType(enum.StrEnum):
    """Element type of a tensor."""

    UNSPECIFIED = ""
    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def is_float(self) -> bool:
        """Whether the type has NaN, which stands for null."""
        return self in {DataType.FP16, DataType.FP32, DataType.FP64}


class KeyType(enum.StrEnum):
    """Type of a key column."""

    UNSPECIFIED = ""
    STRING = "STRING"
    INT64 = "INT64"


class StalePolicy(enum.StrEnum):
    """What to do with a value that is older than its view allows."""

    SERVE = "SERVE"
    DEFAULT = "DEFAULT"
    REJECT = "REJECT"
    # Of a newer client: refused, never read as SERVE.
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Tensor:
    """Named values; the list that fits the data type is filled. Rows first where there are several."""

    name: str = ""
    data_type: DataType = DataType.UNSPECIFIED
    shape: tuple[int, ...] = ()
    bools: tuple[bool, ...] = ()
    ints: tuple[int, ...] = ()
    uints: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()
    doubles: tuple[float, ...] = ()
    strings: tuple[str, ...] = ()
    blobs: tuple[bytes, ...] = ()
    null_rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """One column of an entity's key."""

    name: str
    type: KeyType


@dataclass(frozen=True, slots=True)
class Entity:
    """What a key identifies. The name is unique in the namespace of its views."""

    name: str
    keys: tuple[KeyColumn, ...]


@dataclass(frozen=True, slots=True)
class FeatureField:
    """One value of a view; `length` elements of a list, 0 for a single value. No default: null."""

    name: str
    data_type: DataType
    length: int = 0
    default_value: Tensor | None = None


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """A list of fields that a view has had: its first `field_count` ones."""

    id: int
    field_count: int


@dataclass(frozen=True, slots=True)
class FeatureView:
    """Values of one entity. Times in milliseconds, 0 for none. The registry gives `schema_id` and `schemas`."""

    name: str
    entity: Entity
    fields: tuple[FeatureField, ...]
    description: str = ""
    max_age_ms: int = 0
    stale_policy: StalePolicy = StalePolicy.SERVE
    ttl_ms: int = 0
    schema_id: int = 0
    schemas: tuple[SchemaVersion, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: the shape is that of one row; `finite` refuses NaN and infinity."""

    name: str
    data_type: DataType
    shape: tuple[int, ...] = ()
    finite: bool = False


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
class Version:
    """One immutable version of a model. The registry gives `create_time` (UTC) and `digest`."""

    version: str
    signature: Signature
    bindings: tuple[InputBinding, ...]
    artifacts: tuple[Artifact, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    training_profile: TrainingProfile | None = None
    create_time: datetime | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """Versions that answer the same question, oldest first, and the aliases that name some of them."""

    name: str
    description: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    versions: tuple[Version, ...] = ()

    def find(self, version: str) -> Version | None:
        """The version of that number, if there is one."""
        return next((each for each in self.versions if each.version == version), None)


@dataclass(frozen=True, slots=True)
class Route:
    """Which version answers: exactly one of the two is set."""

    version: str = ""
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A name that callers predict by, and what answers it. A timeout of 0 ms is the default one."""

    name: str
    model: str
    route: Route
    description: str = ""
    default_timeout_ms: int = 0
    sample_entities: tuple[Tensor, ...] = ()
    sample_features: tuple[Tensor, ...] = ()


Resource = FeatureView | Model | Endpoint


def namespace_of(name: str) -> str:
    """The namespace of a `[namespace/]name`; empty if it has none."""
    return name.rpartition("/")[0]
