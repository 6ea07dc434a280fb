"""What a failed call says, read from the wire by gRPC's own decoder."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status


@dataclass(frozen=True)
class Failure:
    """Code and reason by name, paths of the fields at fault, and the trailing metadata."""

    code: str
    reason: str
    fields: tuple[str, ...] = ()
    message: str = ""
    trailers: dict[str, str | bytes] = field(default_factory=dict, compare=False)

    @property
    def short(self) -> tuple[str, str, tuple[str, ...]]:
        """What programs look at."""
        return self.code, self.reason, self.fields


async def failure(call: Awaitable[object]) -> Failure:
    """Await a call that must fail, and return what it fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return failure_of(caught.value)


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """Return what an error says; without a reason where gRPC itself refused the call."""
    trailers = {key: value for key, value in error.trailing_metadata() or ()}  # noqa: C416 - its pairs are no tuples
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has the three methods that are read
    if status is None:
        return Failure(error.code().name, "", message=error.details() or "", trailers=trailers)
    found = status_failure(status)
    return Failure(found.code, found.reason, found.fields, found.message, trailers)


def status_failure(status: status_pb2.Status) -> Failure:
    """Return what a status says, as of a row or of a message in a stream."""
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
    assert not info.reason or info.domain == "predictmesh"
    code = next(code.name for code in grpc.StatusCode if code.value[0] == status.code)
    return Failure(code, info.reason, tuple(each.field for each in bad_request.field_violations), status.message)
