"""What can go wrong with models: while loading, and while answering."""

from __future__ import annotations

from services.mesh.errors import Code, MeshError, Reason


class UnknownModel(MeshError):
    """No model of that name is defined."""

    code, reason = Code.NOT_FOUND, Reason.UNKNOWN_MODEL


class UnknownVersion(MeshError):
    """The model has no such version."""

    code, reason = Code.NOT_FOUND, Reason.UNKNOWN_VERSION


class VersionNotLoaded(MeshError):
    """The version is defined, but does not answer here (yet)."""

    code, reason = Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED


class UnknownTensor(MeshError):
    """The signature has no input or output of that name."""

    code, reason = Code.INVALID_ARGUMENT, Reason.UNKNOWN_FIELD


class RowsOutOfRange(MeshError):
    """A call has no rows, or more than one call may have."""

    code, reason = Code.INVALID_ARGUMENT, Reason.ROWS_OUT_OF_RANGE


class LengthMismatch(MeshError):
    """The inputs of one call differ in their number of rows."""

    code, reason = Code.INVALID_ARGUMENT, Reason.LENGTH_MISMATCH


class TypeMismatch(MeshError):
    """Values are of another type than the signature says."""

    code, reason = Code.INVALID_ARGUMENT, Reason.TYPE_MISMATCH


class ShapeMismatch(MeshError):
    """Values are of another shape or size than the signature says."""

    code, reason = Code.INVALID_ARGUMENT, Reason.SHAPE_MISMATCH


class NonFiniteValue(MeshError):
    """NaN or infinity where the signature does not allow it."""

    code, reason = Code.INVALID_ARGUMENT, Reason.NON_FINITE_VALUE


class RuntimeFailed(MeshError):
    """The runtime failed on this input."""

    code, reason = Code.INTERNAL, Reason.RUNTIME_FAILED


class InvalidOutput(MeshError):
    """The model answered something that its signature does not allow."""

    code, reason = Code.INTERNAL, Reason.INVALID_OUTPUT


class UnknownRuntime(MeshError):
    """This process has no runtime for any artifact of the version."""

    code, reason = Code.FAILED_PRECONDITION, Reason.UNKNOWN_RUNTIME


class UnknownArtifact(MeshError):
    """Object storage has no artifact of that digest."""

    code, reason = Code.FAILED_PRECONDITION, Reason.UNKNOWN_ARTIFACT


class DigestMismatch(MeshError):
    """The bytes of an artifact are not those that were registered."""

    code, reason = Code.FAILED_PRECONDITION, Reason.DIGEST_MISMATCH


class InvalidArtifact(MeshError):
    """The bytes are no model of that runtime."""

    code, reason = Code.FAILED_PRECONDITION, Reason.INVALID_ARTIFACT


class InvalidGolden(MeshError):
    """The bytes are no golden set of the version's signature."""

    code, reason = Code.FAILED_PRECONDITION, Reason.INVALID_ARTIFACT


class SignatureMismatch(MeshError):
    """The model's own inputs or outputs are not what the signature says."""

    code, reason = Code.FAILED_PRECONDITION, Reason.SIGNATURE_MISMATCH
