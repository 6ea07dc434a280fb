"""The methods of a servicer as data."""

from __future__ import annotations

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server
from services.mesh.methods import Method, Servicer
from tests.support.probe import new_probe


def method(name: str) -> Method:
    """A method of a servicer that sends the same message to all who watch."""
    servicer = Servicer(add_RegistryServiceServicer_to_server, new_probe(), shared=["WatchSnapshot"])
    return next(each for each in servicer.methods() if each.name == name)


def test_a_message_for_many_is_serialized_once() -> None:
    """Whoever gets it next gets the same bytes; another message has its own, though it be equal."""
    serialize = method("WatchSnapshot").serialize
    first, second, equal = (pb.WatchSnapshotResponse(revision=number) for number in (1, 2, 2))
    data = serialize(first)
    assert first.SerializeToString() == data
    assert serialize(first) is data
    assert second.SerializeToString() == serialize(second)
    assert serialize(equal) is not serialize(second)
    assert first.SerializeToString() == serialize(first)


def test_other_messages_are_serialized_each_time() -> None:
    """A handler may send one message again after it has changed it."""
    serialize = method("Apply").serialize
    message = pb.ApplyResponse(revision=1)
    assert message.SerializeToString() == serialize(message)
    message.revision = 2
    assert message.SerializeToString() == serialize(message)
