"""Samples of every message: each field set to a value that tells it from the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

import predictmesh.features.v1.features_service_pb2
import predictmesh.gateway.v1.prediction_service_pb2
import predictmesh.mesh.v1.exchange_service_pb2
import predictmesh.model.v1.model_service_pb2
import predictmesh.registry.v1.quality_service_pb2
import predictmesh.registry.v1.registry_service_pb2
import predictmesh.registry.v1.release_service_pb2

SERVICES = (
    predictmesh.gateway.v1.prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
    predictmesh.features.v1.features_service_pb2.DESCRIPTOR.services_by_name["FeatureService"],
    predictmesh.model.v1.model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    predictmesh.registry.v1.registry_service_pb2.DESCRIPTOR.services_by_name["RegistryService"],
    predictmesh.registry.v1.release_service_pb2.DESCRIPTOR.services_by_name["ReleaseService"],
    predictmesh.registry.v1.quality_service_pb2.DESCRIPTOR.services_by_name["QualityService"],
)
# On every port, for services of ours alone.
EXCHANGE = predictmesh.mesh.v1.exchange_service_pb2.DESCRIPTOR.services_by_name["ExchangeService"]
OURS = "predictmesh."


def message_types() -> list[Descriptor]:
    """Every message of ours that an rpc takes or gives, and those inside them, by name."""
    found: dict[str, Descriptor] = {}
    waiting = [
        kind
        for service in (*SERVICES, EXCHANGE)
        for method in service.methods
        for kind in (method.input_type, method.output_type)
    ]
    while waiting:
        kind = waiting.pop()
        if kind.full_name in found or not kind.full_name.startswith(OURS) or kind.GetOptions().map_entry:
            continue
        found[kind.full_name] = kind
        waiting += [field.message_type for field in kind.fields if field.message_type]
    return [found[name] for name in sorted(found)]


def new(name: str) -> Message:
    """An empty message of a type."""
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))()


def samples(kind: Descriptor) -> Iterator[Message]:
    """Messages that together have every field: as many as the longest oneof has members."""
    oneofs = [oneof for oneof in kind.oneofs if len(oneof.fields) > 1]
    for turn in range(max((len(oneof.fields) for oneof in oneofs), default=1)):
        chosen = {oneof.fields[turn % len(oneof.fields)].name for oneof in oneofs}
        left_out = {field.name for oneof in oneofs for field in oneof.fields} - chosen
        message = new(kind.full_name)
        for field in kind.fields:
            if field.name not in left_out:
                _fill(message, field, nested=True)
        yield message


def _fill(message: Message, field: FieldDescriptor, *, nested: bool) -> None:
    value = getattr(message, field.name)
    if field.message_type and field.message_type.GetOptions().map_entry:
        _fill_map(value, field)
    elif field.message_type:
        if nested:
            made = value.add() if field.is_repeated else value
            made.SetInParent()
            for inner in made.DESCRIPTOR.fields:
                _fill(made, inner, nested=False)
    elif field.is_repeated:
        value.extend([_scalar(field), _scalar(field)])
    elif field.containing_oneof is None or message.WhichOneof(field.containing_oneof.name) is None:
        setattr(message, field.name, _scalar(field))


def _fill_map(value: Any, field: FieldDescriptor) -> None:
    assert field.message_type is not None
    key, content = field.message_type.fields
    value[_scalar(key)] = _scalar(content)


def _scalar(field: FieldDescriptor) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return field.name.encode() + b"\xff"
        case FieldDescriptor.CPPTYPE_STRING:
            return f"{field.name} ü"
        case FieldDescriptor.CPPTYPE_BOOL:
            return True
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return field.number + 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            assert field.enum_type is not None
            return field.enum_type.values[-1].number
        case FieldDescriptor.CPPTYPE_INT64 | FieldDescriptor.CPPTYPE_UINT64:
            return 2**36 + field.number
        case _:
            return 100 + field.number
