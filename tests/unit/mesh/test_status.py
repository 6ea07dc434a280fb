"""Every error reaches the caller with its code, its reason and its details, and nothing else does."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import services
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.types.v1.error_reason_pb2 import ErrorReason
from services.mesh.errors import (
    Code,
    FieldViolation,
    Internal,
    InvalidArgument,
    MeshError,
    Overloaded,
    Reason,
    RemoteError,
)
from services.mesh.status import from_rpc_error, from_status, to_status
from tests.support.probe import Probe, new_probe, remote, server

CAUSE = "the cause, which stays in the log"


def _import_errors_of_services() -> None:
    for service in pkgutil.iter_modules(services.__path__):
        package = importlib.import_module(f"services.{service.name}")
        if any(module.name == "errors" for module in pkgutil.iter_modules(package.__path__)):
            importlib.import_module(f"services.{service.name}.errors")


def _subclasses(base: type[MeshError]) -> Iterator[type[MeshError]]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


_import_errors_of_services()
ERRORS = sorted(set(_subclasses(MeshError)) - {RemoteError}, key=lambda error: f"{error.__module__}.{error.__name__}")
each_error = pytest.mark.parametrize(
    "error", ERRORS, ids=lambda error: f"{error.__module__.split('.')[1]}.{error.__name__}"
)


def detailed(kind: type[MeshError]) -> MeshError:
    """Return an error with every detail that there is."""
    return kind(
        "what is wrong",
        violations=[FieldViolation("rows[3].keys", "is empty"), FieldViolation("as_of", "lies ahead")],
        retry_after_s=1.25,
        view="rider",
        age_ms=81_000,
    )


def seen(error: MeshError) -> tuple[object, ...]:
    """Return all that a caller can see of an error."""
    return error.code, error.reason, error.message, error.violations, error.retry_after_s, error.metadata


@pytest.fixture(scope="module")
def probe() -> Probe:
    """The servicer that raises."""
    return new_probe()


@pytest.fixture
async def stub(probe: Probe) -> AsyncIterator[Any]:
    """Calls over a real server."""
    async with server(probe) as serving, remote(serving.address) as stub:
        yield stub


def test_there_are_errors_of_the_services() -> None:
    """The table below is of all services, not only of what mesh has."""
    assert {"mesh", "registry", "features", "model", "gateway"} <= {error.__module__.split(".")[1] for error in ERRORS}


def test_reasons_are_those_of_the_wire() -> None:
    """The enum in code and the enum in the proto are one list."""
    on_the_wire = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.DESCRIPTOR.values_by_name} - {
        "UNSPECIFIED"
    }
    assert on_the_wire == {reason.value for reason in Reason} == set(Reason.__members__)


def test_codes_are_those_of_grpc() -> None:
    """The codes in code and gRPC's are one list."""
    assert {code.name: code.value[0] for code in grpc.StatusCode} == {code.name: code.value for code in Code}


@each_error
def test_error_survives_the_status(error: type[MeshError]) -> None:
    """Code, reason, message, violations, retry delay and metadata come back as they went."""
    assert seen(detailed(error)) == seen(from_status(to_status(detailed(error))))


@each_error
async def test_error_reaches_the_caller(error: type[MeshError], probe: Probe, stub: Any) -> None:
    """What a handler raises is what the caller of the stub gets, however the call streams."""

    async def act(request: Any, context: Any) -> None:
        raise detailed(error) from ValueError(CAUSE)

    probe.act = act
    with pytest.raises(MeshError) as unary:
        await stub.Apply(registry_pb.ApplyRequest(), timeout=60)
    with pytest.raises(MeshError) as stream:
        await anext(aiter(stub.WatchSnapshot(registry_pb.WatchSnapshotRequest(), timeout=60)))
    assert seen(detailed(error)) == seen(unary.value) == seen(stream.value)


def test_plain_error_has_no_details_but_its_reason() -> None:
    """Details that were not given are absent on both sides."""
    status = to_status(Internal("oh"))
    assert [error_details_pb2.ErrorInfo.DESCRIPTOR.full_name] == [detail.TypeName() for detail in status.details]
    assert ((), None, {}) == (
        from_status(status).violations,
        from_status(status).retry_after_s,
        from_status(status).metadata,
    )


@pytest.mark.parametrize("error", [detailed(Overloaded), RemoteError(Code.INTERNAL, Reason.RUNTIME_FAILED, "it broke")])
def test_error_in_other_words_is_of_the_same_kind(error: MeshError) -> None:
    """However the error was made; the one that others have says what it said."""
    before = seen(error)
    told = error.reworded("something else", node="first")
    assert (type(error), error.code, error.reason) == (type(told), told.code, told.reason)
    assert (str(told), told.message, told.metadata["node"]) == ("something else", "something else", "first")
    assert (told.violations, told.retry_after_s) == (error.violations, error.retry_after_s)
    assert seen(error) == before


def test_single_field_becomes_a_violation() -> None:
    """`field` is short for one violation with the message."""
    error = from_status(to_status(InvalidArgument("must be positive", field="rows")))
    assert (FieldViolation("rows", "must be positive"),) == error.violations


@pytest.mark.parametrize("error", [ValueError(CAUSE), KeyError(CAUSE), RuntimeError(CAUSE)])
def test_unknown_exception_is_internal_without_its_text(error: Exception) -> None:
    """Only MeshErrors are meant for callers."""
    status = to_status(error)
    assert (Code.INTERNAL, Reason.INTERNAL) == (from_status(status).code, from_status(status).reason)
    assert CAUSE not in str(status)


def test_reason_of_a_newer_peer_falls_back_to_the_code() -> None:
    """A reason that we do not know yet does not hide the code."""
    status = to_status(Overloaded("later"))
    info = error_details_pb2.ErrorInfo(reason="INVENTED_NEXT_YEAR", domain="predictmesh")
    status.details[0].Pack(info)
    assert (Code.RESOURCE_EXHAUSTED, Reason.OVERLOADED) == (from_status(status).code, from_status(status).reason)


def test_code_that_does_not_exist_is_unknown() -> None:
    """A number beyond gRPC's codes is read as UNKNOWN."""
    assert Code.UNKNOWN == from_status(status_pb2.Status(code=4711, message="?")).code


@pytest.mark.parametrize("length", [1_000, 100_000])
@pytest.mark.parametrize("letter", ["x", "é", "漢"])
async def test_long_error_is_cut_to_what_peers_take(probe: Probe, stub: Any, length: int, letter: str) -> None:
    """An error with a thousand long violations still arrives as itself, and counts what was left out."""
    violations = [FieldViolation(f"resources[{index}].{letter * length}", letter * length) for index in range(1000)]

    async def act(request: Any, context: Any) -> None:
        raise InvalidArgument(letter * length, violations=violations, view=letter * length)

    probe.act = act
    with pytest.raises(MeshError) as error:
        await stub.Apply(registry_pb.ApplyRequest(), timeout=60)
    assert (Code.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT) == (error.value.code, error.value.reason)
    kept = error.value.violations
    assert kept[0].field.startswith(f"resources[0].{letter}")
    assert f"and {1001 - len(kept)} more" == kept[-1].description


def rpc_error(code: grpc.StatusCode, details: str | None, *trailing: tuple[str, str | bytes]) -> grpc.aio.AioRpcError:
    """Return what grpc.aio raises."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.OVERLOADED),
        (grpc.StatusCode.UNIMPLEMENTED, Reason.UNKNOWN_METHOD),
        (grpc.StatusCode.UNKNOWN, Reason.INTERNAL),
    ],
)
def test_bare_codes_of_grpc_get_a_reason(code: grpc.StatusCode, reason: Reason) -> None:
    """What gRPC itself refuses has no details; its code says enough."""
    error = from_rpc_error(rpc_error(code, "refused"))
    assert (code.name, reason, "refused") == (error.code.name, reason, error.message)


def test_call_that_the_server_ended_may_be_repeated() -> None:
    """A server that goes down cancels what it has not taken up; to the caller it is out of reach."""
    error = from_rpc_error(rpc_error(grpc.StatusCode.CANCELLED, "CANCELLED"))
    assert (Code.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE) == (error.code, error.reason)


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff not a status",
        to_status(Internal("another code")).SerializeToString(),
        status_pb2.Status(code=14).SerializeToString(),
    ],
)
def test_details_that_do_not_fit_are_ignored(details: bytes) -> None:
    """Details that contradict the status, as a proxy may leave them, or that are none, never raise."""
    error = from_rpc_error(
        rpc_error(grpc.StatusCode.UNAVAILABLE, "no healthy upstream", ("grpc-status-details-bin", details))
    )
    assert (Code.UNAVAILABLE, "no healthy upstream") == (error.code, error.message)
