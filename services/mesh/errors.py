"""The errors that services raise. `status.py` turns them into the wire's, and back."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self


class Code(enum.IntEnum):
    """Status codes, numbered as in gRPC; here so that domain code need not import it."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Reason(enum.StrEnum):
    """The closed list of `types/v1/error_reason.proto`, which explains each."""

    INTERNAL = "INTERNAL"
    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    MISSING_FIELD = "MISSING_FIELD"
    CANCELLED = "CANCELLED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    OVERLOADED = "OVERLOADED"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    NOT_READY = "NOT_READY"
    UPSTREAM_UNAVAILABLE = "UPSTREAM_UNAVAILABLE"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    UNKNOWN_METHOD = "UNKNOWN_METHOD"
    UNKNOWN_ENDPOINT = "UNKNOWN_ENDPOINT"
    UNKNOWN_MODEL = "UNKNOWN_MODEL"
    UNKNOWN_VERSION = "UNKNOWN_VERSION"
    UNKNOWN_ALIAS = "UNKNOWN_ALIAS"
    UNKNOWN_VIEW = "UNKNOWN_VIEW"
    UNKNOWN_ENTITY = "UNKNOWN_ENTITY"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    UNKNOWN_PLAN = "UNKNOWN_PLAN"
    UNKNOWN_RUNTIME = "UNKNOWN_RUNTIME"
    MISSING_KEY = "MISSING_KEY"
    KEY_TOO_LONG = "KEY_TOO_LONG"
    ROWS_OUT_OF_RANGE = "ROWS_OUT_OF_RANGE"
    LENGTH_MISMATCH = "LENGTH_MISMATCH"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    SHAPE_MISMATCH = "SHAPE_MISMATCH"
    NON_FINITE_VALUE = "NON_FINITE_VALUE"
    MISSING_FEATURE = "MISSING_FEATURE"
    STALE_FEATURE = "STALE_FEATURE"
    VERSION_NOT_LOADED = "VERSION_NOT_LOADED"
    VERSION_NOT_READY = "VERSION_NOT_READY"
    RUNTIME_FAILED = "RUNTIME_FAILED"
    INVALID_OUTPUT = "INVALID_OUTPUT"
    NO_LAST_ANSWER = "NO_LAST_ANSWER"
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    INVALID_NAME = "INVALID_NAME"
    INVALID_DEFINITION = "INVALID_DEFINITION"
    INVALID_BINDING = "INVALID_BINDING"
    INCOMPATIBLE_CHANGE = "INCOMPATIBLE_CHANGE"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    REVISION_CONFLICT = "REVISION_CONFLICT"
    IN_USE = "IN_USE"
    UNKNOWN_ARTIFACT = "UNKNOWN_ARTIFACT"
    DIGEST_MISMATCH = "DIGEST_MISMATCH"
    SIGNATURE_MISMATCH = "SIGNATURE_MISMATCH"
    INVALID_ARTIFACT = "INVALID_ARTIFACT"
    NOT_EMPTY = "NOT_EMPTY"
    GATE_FAILED = "GATE_FAILED"
    RELEASE_ACTIVE = "RELEASE_ACTIVE"
    NO_RELEASE = "NO_RELEASE"
    UNKNOWN_PREDICTION = "UNKNOWN_PREDICTION"
    MISSING_CREDENTIALS = "MISSING_CREDENTIALS"
    INVALID_CREDENTIALS = "INVALID_CREDENTIALS"
    EXPIRED_CREDENTIALS = "EXPIRED_CREDENTIALS"
    MISSING_ROLE = "MISSING_ROLE"
    ENDPOINT_NOT_ALLOWED = "ENDPOINT_NOT_ALLOWED"
    ISSUER_UNAVAILABLE = "ISSUER_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the request that breaks a rule: its path in the message, and what to do about it."""

    field: str
    description: str


class MeshError(Exception):
    """An error that reaches the caller: code and reason for programs, the message for people.

    `field` is the path of the offending field; several faults go into `violations`. `retry_after_s` tells a shed caller
    when to come back. `metadata` (text) travels in ErrorInfo. Causes never travel: chain them, the log has them.
    """

    code: ClassVar[Code]
    reason: ClassVar[Reason]

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
        **metadata: object,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.violations = tuple(violations) or ((FieldViolation(field, message),) if field else ())
        self.retry_after_s = retry_after_s
        self.metadata = {key: str(value) for key, value in metadata.items()}

    def reworded(self, message: str, **metadata: object) -> Self:
        """Return an error of the same kind in other words; this one may be told to others, too."""
        made = type(self).__new__(type(self), message)
        made.__dict__.update(self.__dict__)
        made.args, made.message = (message,), message
        made.metadata = {**self.metadata, **{key: str(value) for key, value in metadata.items()}}
        return made


class Internal(MeshError):
    """A fault of ours."""

    code, reason = Code.INTERNAL, Reason.INTERNAL


class MalformedMessage(MeshError):
    """The request's bytes are not the message that the method takes."""

    code, reason = Code.INVALID_ARGUMENT, Reason.MALFORMED_MESSAGE


class InvalidArgument(MeshError):
    """A field breaks a rule that no other reason names."""

    code, reason = Code.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT


class MissingField(MeshError):
    """A required field is empty."""

    code, reason = Code.INVALID_ARGUMENT, Reason.MISSING_FIELD


class DeadlineExceeded(MeshError):
    """The call's time is over."""

    code, reason = Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED


class Overloaded(MeshError):
    """A bounded queue is full."""

    code, reason = Code.RESOURCE_EXHAUSTED, Reason.OVERLOADED


class ShuttingDown(MeshError):
    """The process is draining."""

    code, reason = Code.UNAVAILABLE, Reason.SHUTTING_DOWN


class NotReady(MeshError):
    """The service has no definitions yet."""

    code, reason = Code.UNAVAILABLE, Reason.NOT_READY


class UpstreamUnavailable(MeshError):
    """A service behind this one cannot be reached."""

    code, reason = Code.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE


class StoreUnavailable(MeshError):
    """The store does not answer."""

    code, reason = Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE


class UnknownMethod(MeshError):
    """The server has no such method."""

    code, reason = Code.UNIMPLEMENTED, Reason.UNKNOWN_METHOD


class RemoteError(MeshError):
    """What another service answered: its code and reason, passed on as they are."""

    code, reason = Code.UNKNOWN, Reason.INTERNAL

    def __init__(self, code: Code, reason: Reason, message: str, **details: object) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]  # the same keywords, unpacked from a status
        self.code = code  # type: ignore[misc]  # of the instance: it stands for every class
        self.reason = reason  # type: ignore[misc]
