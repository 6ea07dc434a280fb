"""Every method has a rule, each rule a method, and what is dangerous is not for everybody."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as oip_pb

import predictmesh
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh.security.caller import Role
from services.mesh.security.rules import BY_SERVICE, EXCHANGE, RULES, UNLISTED, Rule


def _files() -> list[object]:
    """Return every file of our protos that may define a service, and the one of the protocol that we share with others."""
    root = Path(predictmesh.__path__[0])
    found = sorted(root.rglob("*_service_pb2.py"))
    names = [f"predictmesh.{'.'.join(path.relative_to(root).with_suffix('').parts)}" for path in found]
    return [*map(importlib.import_module, names), oip_pb]


METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for file in _files()
    for service in file.DESCRIPTOR.services_by_name.values()  # type: ignore[attr-defined]  # every such module has it
    for method in service.methods
}
NAMED = {path: rule for path, rule in RULES.items() if rule.subjects is not None}


def request_of(path: str) -> Message:
    """Return an empty request."""
    return message_factory.GetMessageClass(METHODS[path].input_type)()


def names_of(role: Role) -> set[str]:
    """Return the methods that a role may call, by name."""
    return {path.rpartition("/")[2] for path, rule in RULES.items() if role in rule.roles and not rule.open}


def test_there_are_methods_to_have_rules() -> None:
    """What the others compare with is there."""
    assert {"predictmesh.gateway.v1.PredictionService", "inference.GRPCInferenceService"} <= BY_SERVICE.keys()
    assert len(METHODS) > 50
    assert EXCHANGE in METHODS


def test_every_method_has_a_rule_and_every_rule_a_method() -> None:
    """No rpc is forgotten, and no rule is of one that is gone."""
    assert set(METHODS) == set(RULES)


def test_unlisted_method_is_for_operators() -> None:
    """A method that somebody forgets to list is not open."""
    assert Rule(frozenset({Role.OPERATOR})) == UNLISTED


def test_operator_may_call_everything() -> None:
    """There is nobody above."""
    assert [] == [path for path, rule in RULES.items() if not rule.open and Role.OPERATOR not in rule.roles]


def test_only_liveness_is_open() -> None:
    """Health and reflection are no methods of ours; nothing else that is open tells anything."""
    assert {"ServerLive", "ServerReady"} == {path.rpartition("/")[2] for path, rule in RULES.items() if rule.open}


def test_caller_asks_and_reports_and_nothing_else() -> None:
    """The key of an application is good for its endpoints."""
    assert {"Predict", "PredictStream", "Explain", "RecordOutcome", "ListEndpoints"} == names_of(Role.CALLER)


def test_writer_writes() -> None:
    """The key of a pipeline is good for feature values, and to know their views."""
    assert {"WriteFeatures", "StreamFeatures", "GetSnapshot"} == names_of(Role.WRITER)


@pytest.mark.parametrize("method", ["Delete", "DeleteEntity", "ImportEvents", "RepositoryModelUnload"])
def test_what_cannot_be_undone_is_for_operators(method: str) -> None:
    """Who releases does not delete."""
    assert [Role.OPERATOR] == [role for role in Role if method in names_of(role)]


@pytest.mark.parametrize(
    "method", ["Apply", "RegisterVersion", "UploadArtifact", "StartRelease", "Promote", "Rollback"]
)
def test_registry_changes_take_a_releaser(method: str) -> None:
    """Neither an application nor a service changes definitions."""
    assert {Role.OPERATOR, Role.RELEASER} == {role for role in Role if method in names_of(role)}


@pytest.mark.parametrize(
    "method", ["GetFeatures", "ModelInfer", "ReportTraffic", "ReportRuntime", "RecordPredictions", "Exchange"]
)
def test_hops_are_for_services(method: str) -> None:
    """What is evidence to a release is not told by just anybody."""
    assert {Role.OPERATOR, Role.SERVICE} == {role for role in Role if method in names_of(role)}


@pytest.mark.parametrize("path", NAMED)
def test_subjects_are_fields_of_the_request(path: str) -> None:
    """A rule that reads a field which is not there would fail every call of those who are limited."""
    subjects = NAMED[path].subjects
    assert subjects is not None
    assert all("" == name for _, name in subjects(request_of(path)))


@pytest.mark.parametrize(
    "path", [path for path, method in METHODS.items() if "endpoint" in method.input_type.fields_by_name]
)
def test_endpoint_of_a_request_is_looked_at(path: str) -> None:
    """Nobody who is limited to some endpoints gets at another by a method whose rule overlooks it."""
    request = request_of(path)
    if not isinstance(request, registry_pb.DeleteRequest):
        request.endpoint = "other"  # type: ignore[attr-defined]  # it is chosen for that
        subjects = RULES[path].subjects
        assert subjects is not None
        assert [("endpoint", "other")] == list(subjects(request))


def test_who_is_limited_is_kept_from_what_names_nothing() -> None:
    """But for these: they tell of everything as a snapshot does, or of what is known by an id that nobody guesses."""
    unlimited = {"RecordOutcome", "ListEndpoints", "UploadArtifact", "GetSnapshot", "ListRuntimes", "ListEvents"}
    unlimited |= {"DescribeRuntimes", "WatchRuntimes", "ServerMetadata", "RepositoryIndex"}
    assert unlimited == {path.rpartition("/")[2] for path, rule in RULES.items() if rule.unlimited}
    assert [] == [path for path, rule in RULES.items() if rule.unlimited and rule.subjects is not None]


def test_every_definition_of_an_apply_is_looked_at() -> None:
    """Each of the resources has its path."""
    request = registry_pb.ApplyRequest()
    request.resources.add().endpoint.name = "a"
    request.resources.add().model.name = "b"
    request.resources.add().feature_view.name = "c"
    request.resources.add()
    subjects = RULES["/predictmesh.registry.v1.RegistryService/Apply"].subjects
    assert subjects is not None
    expected = [("resources[0].endpoint.name", "a"), ("resources[1].model.name", "b")]
    assert [*expected, ("resources[2].feature_view.name", "c")] == list(subjects(request))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (registry_pb.DeleteRequest(endpoint="a"), [("endpoint", "a")]),
        (registry_pb.DeleteRequest(model="a"), [("model", "a")]),
        (registry_pb.DeleteRequest(feature_view="a"), [("feature_view", "a")]),
        (registry_pb.DeleteRequest(version=registry_pb.VersionName(model="a")), [("version.model", "a")]),
        (registry_pb.DeleteRequest(artifact="0" * 64), [("artifact", "")]),
        (registry_pb.DeleteRequest(), []),
    ],
)
def test_what_is_deleted_is_looked_at(request_: registry_pb.DeleteRequest, expected: list[tuple[str, str]]) -> None:
    """By whichever of the names it is given."""
    subjects = RULES["/predictmesh.registry.v1.RegistryService/Delete"].subjects
    assert subjects is not None
    assert expected == list(subjects(request_))
