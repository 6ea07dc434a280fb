"""Feature views: the values of an entity."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from services.registry.definitions.tensors import DataType, Tensor


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
