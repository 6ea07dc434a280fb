"""The one table between the errors we raise and google.rpc.Status with its details."""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.mesh.errors import Code, FieldViolation, Internal, MeshError, Reason, RemoteError

DOMAIN = "predictmesh"


def to_status(error: BaseException) -> status_pb2.Status:
    """Return the status that tells a caller of `error`; what is no MeshError becomes INTERNAL without its text."""
    if not isinstance(error, MeshError):
        error = Internal("internal error; the server's log has the cause under this call's trace id")
    status = status_pb2.Status(code=int(error.code), message=error.message)
    status.details.append(
        _pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    )
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.description)
            for violation in error.violations
        ]
        status.details.append(_pack(error_details_pb2.BadRequest(field_violations=violations)))
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration(nanos=0)
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        status.details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status


def from_status(status: status_pb2.Status) -> MeshError:
    """Return the error that `status` tells of."""
    info, bad_request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    for detail in status.details:
        for message in (info, bad_request, retry):
            if detail.TypeName() == message.DESCRIPTOR.full_name:
                detail.Unpack(message)
    code = Code(status.code)
    error = RemoteError(
        code,
        _reason(code, info.reason),
        status.message,
        violations=[FieldViolation(v.field, v.description) for v in bad_request.field_violations],
        retry_after_s=retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None,
    )
    error.metadata = dict(info.metadata)
    return error


def from_rpc_error(error: grpc.aio.AioRpcError) -> MeshError:
    """Return what the failed call says: its details where our server sent them, else its bare code."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError has the three methods it reads
    if status is not None:
        return from_status(status)
    code = Code(error.code().value[0])
    return RemoteError(code, _reason(code, ""), error.details() or code.name)


# Reasons for what gRPC itself refuses, without our details.
_BARE = {
    Code.CANCELLED: Reason.CANCELLED,
    Code.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    Code.UNAVAILABLE: Reason.UPSTREAM_UNAVAILABLE,
    Code.RESOURCE_EXHAUSTED: Reason.OVERLOADED,
    Code.UNIMPLEMENTED: Reason.UNKNOWN_METHOD,
    Code.INVALID_ARGUMENT: Reason.INVALID_ARGUMENT,
}


def _reason(code: Code, name: str) -> Reason:
    # A newer peer may send a reason that we do not know yet; its code still says what to do.
    return Reason[name] if name in Reason.__members__ else _BARE.get(code, Reason.INTERNAL)


def _pack(
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
