"""Between messages and definitions. Both have the same shape and names, so their conversion follows from their fields."""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_type_hints

import numpy as np
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.model_pb2 import GoldenRows as PbGoldenRows
from predictmesh.registry.v1.model_pb2 import Version as PbVersion
from services.mesh.errors import InvalidArgument, MissingField
from services.registry.changes import Event, ResourceDeleted
from services.registry.definitions import Endpoint, FeatureView, Model, Resource, Version
from services.registry.deleting import Upload
from services.registry.errors import InvalidDefinition
from services.registry.golden import GoldenRows

T = TypeVar("T")
M = TypeVar("M", bound=Message)
Read = Callable[[Any], Any]


def decode(message: Message, kind: type[T]) -> T:
    """The dataclass `kind` that the message shows. Enum values of a newer release become UNKNOWN or UNSPECIFIED."""
    return kind(**{name: read(message) for name, read in _readers(cast("Hashable", kind), message.DESCRIPTOR)})


def encode(value: object, message: M) -> M:
    """Fill an empty message from the dataclass that it shows."""
    for field in fields(value):  # type: ignore[arg-type]  # any dataclass
        _fill(message, field.name, getattr(value, field.name))
    return message


def decode_resource(resource: pb.Resource) -> Resource | None:
    """The definition in a resource; None if none is set."""
    match resource.WhichOneof("kind"):
        case "feature_view":
            return decode(resource.feature_view, FeatureView)
        case "model":
            return decode(resource.model, Model)
        case "endpoint":
            return decode(resource.endpoint, Endpoint)
        case _:
            return None


def decode_version(message: PbVersion) -> Version:
    """The version that a caller gives, without what the registry adds."""
    given = PbVersion()
    given.CopyFrom(message)
    given.ClearField("create_time")
    given.ClearField("digest")
    return decode(given, Version)


def decode_target(request: pb.DeleteRequest) -> ResourceDeleted | Upload | None:
    """What should be deleted; None if nothing is set."""
    match request.WhichOneof("target"):
        case "feature_view":
            return ResourceDeleted("feature_view", request.feature_view)
        case "model":
            return ResourceDeleted("model", request.model)
        case "endpoint":
            return ResourceDeleted("endpoint", request.endpoint)
        case "version":
            return ResourceDeleted("version", request.version.model, request.version.version)
        case "artifact":
            return Upload(request.artifact)
        case _:
            return None


def decode_golden(data: bytes) -> GoldenRows:
    """The rows that a golden set's bytes hold."""
    try:
        message = PbGoldenRows.FromString(data)
    except DecodeError as error:
        raise InvalidDefinition("the bytes are no serialized GoldenRows") from error
    return decode(message, GoldenRows)


def decode_event(request: pb.ImportEventsRequest) -> Event:
    """The event of a backup."""
    if not request.event.HasField("time"):
        raise MissingField("an event has a time", field="event.time")
    return decode(request.event, Event)


def _time(stamp: Timestamp) -> datetime:
    try:
        return stamp.ToDatetime(UTC)
    except ValueError as error:
        raise InvalidArgument(f"{stamp.seconds} seconds are no time of the calendar") from error


@cache
def _readers(kind: Hashable, descriptor: Descriptor) -> list[tuple[str, Read]]:
    """How each field of the dataclass is read from its message; worked out once."""
    assert isinstance(kind, type)
    assert is_dataclass(kind)
    hints = get_type_hints(kind)
    return [(field.name, _reader(descriptor.fields_by_name[field.name], hints[field.name])) for field in fields(kind)]


def _reader(field: FieldDescriptor, hint: object) -> Read:
    """How one field is read, where `hint` is the type it has in the dataclass."""
    name, kinds = field.name, [hint, *get_args(hint)]
    if field.message_type and field.message_type.GetOptions().map_entry:
        return lambda message: dict(getattr(message, name))
    convert = _converter(field, kinds)
    if field.is_repeated:
        return lambda message: tuple(map(convert, getattr(message, name)))
    if type(None) in kinds:
        return lambda message: convert(getattr(message, name)) if message.HasField(name) else None
    return lambda message: convert(getattr(message, name))


def _converter(field: FieldDescriptor, kinds: list[object]) -> Read:
    """How one value of the field is read, where `kinds` holds what it may become."""
    if field.enum_type:
        values = _enum_values(field.enum_type, next(each for each in kinds if isinstance(each, enum.EnumMeta)))
        return lambda number: values.get(number, values[-1])
    if field.message_type and field.message_type is Timestamp.DESCRIPTOR:
        return _time
    if field.message_type:
        kind = next(each for each in kinds if isinstance(each, type) and is_dataclass(each))
        return lambda message: decode(message, kind)
    if field.type == FieldDescriptor.TYPE_FLOAT:
        # The shortest number with this value: 0.1 stays 0.1 in the log and in a diff.
        return lambda number: float(str(np.float32(number)))
    return lambda value: value


def _enum_values(descriptor: EnumDescriptor, kind: enum.EnumMeta) -> dict[int, object]:
    """Members by number; the number 0 is the first member, and -1 stands for every unknown one."""
    first: object = next(iter(kind))
    members = {value.number: kind.__members__.get(_bare(value.name, descriptor), first) for value in descriptor.values}
    return {**members, -1: kind.__members__.get("UNKNOWN", first)}


@cache
def _prefix(descriptor: EnumDescriptor) -> str:
    """What every value's name begins with, e.g. DATA_TYPE_."""
    return descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")


def _bare(name: str, descriptor: EnumDescriptor) -> str:
    return name.removeprefix(_prefix(descriptor))


def _fill(message: Message, name: str, value: object) -> None:
    """Set one field; what is at its default stays unset, so that only one field of a oneof is.

    But a number that is optional in the message is set wherever it is one: there 0 is not the same as none.
    """
    match value:
        case None | "" | () | False:
            return
        case 0 if not _is_optional(message, name):
            return
        case enum.Enum():
            setattr(message, name, _number(message, name, value))
        case str() | int() | float() | bytes():
            setattr(message, name, value)
        case tuple():
            _extend(getattr(message, name), value)
        case datetime():
            getattr(message, name).FromDatetime(value)
        case Mapping():
            getattr(message, name).update(value)
        case _:
            child = getattr(message, name)
            child.SetInParent()
            encode(value, child)


def _is_optional(message: Message, name: str) -> bool:
    """Whether the field is declared `optional`, for which the compiler makes a oneof of its own."""
    oneof = message.DESCRIPTOR.fields_by_name[name].containing_oneof
    return oneof is not None and oneof.name == f"_{name}"


def _extend(repeated: Any, values: tuple[object, ...]) -> None:  # noqa: ANN401 - protobuf's containers share no type
    if is_dataclass(values[0]):
        for value in values:
            encode(value, repeated.add())
    else:
        repeated.extend(values)


def _number(message: Message, name: str, member: enum.Enum) -> int:
    descriptor = message.DESCRIPTOR.fields_by_name[name].enum_type
    assert descriptor is not None
    return int(descriptor.values_by_name[_prefix(descriptor) + member.name].number)
