"""The one table between the errors we raise and google.rpc.Status with its details."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.mesh.errors import (
    Code,
    DeadlineExceeded,
    FieldViolation,
    Internal,
    MeshError,
    Reason,
    RemoteError,
    UpstreamUnavailable,
)
from services.mesh.texts import cut

DOMAIN = "predictmesh"

# Peers refuse trailers above 8 KiB, and answer with an error of their own instead of ours. The message travels twice,
# once percent-encoded (up to three times its size); details travel as base64.
MAX_MESSAGE_BYTES = 1_000
MAX_STATUS_BYTES = 3_000
MAX_TEXT_BYTES = 500


def to_status(error: BaseException) -> status_pb2.Status:
    """Return the status that tells a caller of `error`; what is no MeshError becomes INTERNAL without its text."""
    if not isinstance(error, MeshError):
        error = Internal("internal error; the server's log has the cause under this call's trace id")
    status = status_pb2.Status(code=int(error.code), message=cut(error.message, MAX_MESSAGE_BYTES))
    metadata = {key: cut(value, MAX_TEXT_BYTES) for key, value in error.metadata.items()}
    status.details.append(_pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)))
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        status.details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    if error.violations:
        status.details.append(_pack(_bad_request(error.violations, MAX_STATUS_BYTES - status.ByteSize())))
    return status


def _bad_request(violations: Sequence[FieldViolation], max_bytes: int) -> error_details_pb2.BadRequest:
    """Return as many of the violations as fit; the last entry counts the others."""
    message = error_details_pb2.BadRequest()
    for index, violation in enumerate(violations):
        field, description = cut(violation.field, MAX_TEXT_BYTES), cut(violation.description, MAX_TEXT_BYTES)
        message.field_violations.add(field=field, description=description)
        if index and message.ByteSize() > max_bytes:
            del message.field_violations[-1]
            message.field_violations.add(description=f"and {len(violations) - index} more")
            break
    return message


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
    code = _code(status.code)
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
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError has the three methods it reads
    except (ValueError, DecodeError):
        status = None  # a proxy put in a code of its own, or details that are not ours
    if status is not None:
        return from_status(status)
    code = _code(error.code().value[0])
    if code is Code.CANCELLED:
        # Not by us, or a CancelledError would have come: a server that goes down ends so what it has not taken up.
        code = Code.UNAVAILABLE
    message = error.details() or code.name
    # Not what another service answered, which has details: it was not reached, or did not answer in time.
    if code is Code.UNAVAILABLE:
        return UpstreamUnavailable(message)
    if code is Code.DEADLINE_EXCEEDED:
        return DeadlineExceeded(message)
    return RemoteError(code, _reason(code, ""), message)


# Reasons for what gRPC itself refuses, without our details.
_BARE = {
    Code.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    Code.UNAVAILABLE: Reason.UPSTREAM_UNAVAILABLE,
    Code.RESOURCE_EXHAUSTED: Reason.OVERLOADED,
    Code.UNIMPLEMENTED: Reason.UNKNOWN_METHOD,
    Code.INVALID_ARGUMENT: Reason.INVALID_ARGUMENT,
}


def _code(number: int) -> Code:
    return Code(number) if number in Code.__members__.values() else Code.UNKNOWN


def _reason(code: Code, name: str) -> Reason:
    # A newer peer may send a reason that we do not know yet; its code still says what to do.
    return Reason[name] if name in Reason.__members__ else _BARE.get(code, Reason.INTERNAL)


def _pack(
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
