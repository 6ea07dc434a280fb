"""What the log records: one act of a caller is one event, whatever it touches, so that every revision is a state that
held and was published, and a copy of the log that ends at any revision is a valid registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from services.mesh.errors import MeshError
from services.registry.definitions import Endpoint, FeatureView, Model, Release, Version
from services.registry.errors import InvalidDefinition

# An unknown key is content that this release cannot show, so it must not be dropped.
_STRICT = ConfigDict(extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


@dataclass(frozen=True, slots=True)
class ResourcesApplied:
    """Resources as they are from now on; models without their versions. `forced` says which rules were overridden."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    feature_views: tuple[FeatureView, ...] = ()
    models: tuple[Model, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    forced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionRegistered:
    """A version that a model has from now on."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    model: str
    version: Version


Kind = Literal["feature_view", "model", "version", "endpoint"]


@dataclass(frozen=True, slots=True)
class ResourceDeleted:
    """A resource that is gone; `version` is set for that kind only, and then `name` is its model's."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    kind: Kind
    name: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseChanged:
    """A release as it is from now on; its endpoint's route follows when it is promoted, or rolled back after that."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    release: Release


Change = ResourcesApplied | VersionRegistered | ResourceDeleted | ReleaseChanged

_ADAPTERS: Mapping[str, TypeAdapter[Change]] = {
    "resources_applied": TypeAdapter(ResourcesApplied),
    "version_registered": TypeAdapter(VersionRegistered),
    "resource_deleted": TypeAdapter(ResourceDeleted),
    "release_changed": TypeAdapter(ReleaseChanged),
}
_TYPES: Mapping[type[Change], str] = {
    ResourcesApplied: "resources_applied",
    VersionRegistered: "version_registered",
    ResourceDeleted: "resource_deleted",
    ReleaseChanged: "release_changed",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log: `time` is UTC, `payload` the change as JSON."""

    revision: int
    time: datetime
    actor: str
    reason: str
    type: str
    payload: str


def encode(change: Change) -> tuple[str, str]:
    """The event type and payload of a change."""
    name = _TYPES[type(change)]
    return name, _ADAPTERS[name].dump_json(change, exclude_defaults=True).decode()


def decode(event: Event) -> Change:
    """The change that an event records; InvalidDefinition if it is none that this release knows."""
    adapter = _ADAPTERS.get(event.type)
    if adapter is None:
        raise _unreadable(event, f"its type {event.type!r} is unknown")
    try:
        return adapter.validate_json(event.payload)
    except ValidationError as error:
        first = error.errors()[0]
        raise _unreadable(event, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _unreadable(event: Event, why: str) -> MeshError:
    return InvalidDefinition(f"event {event.revision} cannot be read: {why}", field="event.payload")
