"""What a prediction can fail with, beside the errors that all services share."""

from __future__ import annotations

from services.mesh.errors import Code, MeshError, Reason

# Failures that speak against a version, and that another answer may stand in for. The others are the callers'.
FAILURES = frozenset(
    {
        Code.INTERNAL,
        Code.UNKNOWN,
        Code.UNAVAILABLE,
        Code.RESOURCE_EXHAUSTED,
        Code.DEADLINE_EXCEEDED,
        # Features that are missing or too old: a version chooses what it needs.
        Code.FAILED_PRECONDITION,
    }
)


class UnknownEndpoint(MeshError):
    """No endpoint of that name."""

    code, reason = Code.NOT_FOUND, Reason.UNKNOWN_ENDPOINT


class UnknownVersion(MeshError):
    """The endpoint's model has no version or alias of that name."""

    code, reason = Code.NOT_FOUND, Reason.UNKNOWN_VERSION


class UnknownEntity(MeshError):
    """A key column that the endpoint does not take."""

    code, reason = Code.INVALID_ARGUMENT, Reason.UNKNOWN_ENTITY


class UnknownFeature(MeshError):
    """A request-time feature that the endpoint does not take."""

    code, reason = Code.INVALID_ARGUMENT, Reason.UNKNOWN_FIELD


class MissingKey(MeshError):
    """A key column is missing, or a key is empty."""

    code, reason = Code.INVALID_ARGUMENT, Reason.MISSING_KEY


class KeyTooLong(MeshError):
    """The key columns of an entity exceed 256 bytes in one row."""

    code, reason = Code.INVALID_ARGUMENT, Reason.KEY_TOO_LONG


class RowsOutOfRange(MeshError):
    """Fewer rows than 1, or more than 256."""

    code, reason = Code.INVALID_ARGUMENT, Reason.ROWS_OUT_OF_RANGE


class LengthMismatch(MeshError):
    """Columns of one request have different lengths."""

    code, reason = Code.INVALID_ARGUMENT, Reason.LENGTH_MISMATCH


class TypeMismatch(MeshError):
    """Values are of another type than the endpoint takes."""

    code, reason = Code.INVALID_ARGUMENT, Reason.TYPE_MISMATCH


class ShapeMismatch(MeshError):
    """Values are of another shape than the endpoint takes."""

    code, reason = Code.INVALID_ARGUMENT, Reason.SHAPE_MISMATCH


class NonFiniteValue(MeshError):
    """NaN or infinity where the signature refuses it."""

    code, reason = Code.INVALID_ARGUMENT, Reason.NON_FINITE_VALUE


class MissingFeature(MeshError):
    """A value without default is absent from the request and the store."""

    code, reason = Code.FAILED_PRECONDITION, Reason.MISSING_FEATURE


class StaleFeature(MeshError):
    """A stored value is older than its view allows, and the view's policy is to reject it."""

    code, reason = Code.FAILED_PRECONDITION, Reason.STALE_FEATURE


class VersionNotLoaded(MeshError):
    """The replica that was asked does not know the version yet."""

    code, reason = Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED


class InvalidOutput(MeshError):
    """The model answered something that its signature does not allow."""

    code, reason = Code.INTERNAL, Reason.INVALID_OUTPUT


class NoLastAnswer(MeshError):
    """No answer is remembered for the keys, or only one that is too old."""

    code, reason = Code.NOT_FOUND, Reason.NO_LAST_ANSWER


class RuntimeFailed(MeshError):
    """The model service failed a row and said no more than its code."""

    code, reason = Code.INTERNAL, Reason.RUNTIME_FAILED
