"""The fields in which two definitions differ."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from pydantic import ConfigDict, TypeAdapter

from services.registry.definitions import Resource

_JSON: TypeAdapter[Resource] = TypeAdapter(Resource, config=ConfigDict(ser_json_bytes="base64"))


class Action(enum.StrEnum):
    """What happened to a resource."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    UNCHANGED = "UNCHANGED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that differs: its path, and its JSON before and after, empty where it is not set."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """What happened to one resource."""

    kind: str
    name: str
    action: Action
    fields: tuple[FieldChange, ...] = ()


def compare(old: Resource | None, new: Resource) -> ResourceChange:
    """What applying `new` over `old` changes; what the registry keeps of a model is not applied."""
    changed = tuple(_differences("", _plain(old) if old else None, _plain(new)))
    action = Action.CREATED if old is None else Action.UPDATED if changed else Action.UNCHANGED
    return ResourceChange(type(new).__name__, new.name, action, changed)


def _plain(resource: Resource) -> object:
    """Objects, lists and scalars; what is at its default is left out, as on the wire."""
    return _JSON.dump_python(resource, mode="json", exclude={"versions", "released_versions"}, exclude_defaults=True)


def _differences(path: str, old: object, new: object) -> Iterator[FieldChange]:
    """The innermost places where the two differ."""
    if old == new:
        return
    match old, new:
        case (dict(), dict()):
            for key in {**old, **new}:
                yield from _differences(f"{path}.{key}" if path else key, old.get(key), new.get(key))
        case (None, dict()):
            yield from _differences(path, {}, new)
        case (dict(), None):
            yield from _differences(path, old, {})
        case (list(), list()):
            for index in range(max(len(old), len(new))):
                yield from _differences(f"{path}[{index}]", _at(old, index), _at(new, index))
        case _:
            yield FieldChange(path, _json(old), _json(new))


def _at(values: list[object], index: int) -> object:
    return values[index] if index < len(values) else None


def _json(value: object) -> str:
    return "" if value is None else orjson.dumps(value).decode()
