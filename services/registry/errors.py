"""The errors of the registry. What a request names but does not exist is NOT_FOUND where the request is about it, and
INVALID_ARGUMENT where a definition merely refers to it.
"""

from __future__ import annotations

from services.mesh.errors import Code, MeshError, Reason


class InvalidName(MeshError):
    """A name breaks the rule for names."""

    code, reason = Code.INVALID_ARGUMENT, Reason.INVALID_NAME


class InvalidDefinition(MeshError):
    """A definition breaks a rule."""

    code, reason = Code.INVALID_ARGUMENT, Reason.INVALID_DEFINITION


class InvalidBinding(MeshError):
    """A binding names a source that does not exist or does not fit the input."""

    code, reason = Code.INVALID_ARGUMENT, Reason.INVALID_BINDING


class NamesUnknownModel(MeshError):
    """A definition names a model that does not exist."""

    code, reason = Code.INVALID_ARGUMENT, Reason.UNKNOWN_MODEL


class NamesUnknownVersion(MeshError):
    """A definition names a version that does not exist."""

    code, reason = Code.INVALID_ARGUMENT, Reason.UNKNOWN_VERSION


class NamesUnknownAlias(MeshError):
    """A definition names an alias that does not exist."""

    code, reason = Code.INVALID_ARGUMENT, Reason.UNKNOWN_ALIAS


class UnknownView(MeshError):
    """No feature view of that name."""

    code, reason = Code.NOT_FOUND, Reason.UNKNOWN_VIEW


class UnknownModel(MeshError):
    """No model of that name."""

    code, reason = Code.NOT_FOUND, Reason.UNKNOWN_MODEL


class UnknownVersion(MeshError):
    """The model has no such version."""

    code, reason = Code.NOT_FOUND, Reason.UNKNOWN_VERSION


class UnknownEndpoint(MeshError):
    """No endpoint of that name."""

    code, reason = Code.NOT_FOUND, Reason.UNKNOWN_ENDPOINT


class UnknownPrediction(MeshError):
    """Nothing is kept of such a prediction."""

    code, reason = Code.NOT_FOUND, Reason.UNKNOWN_PREDICTION


class OutcomeExists(MeshError):
    """The row has an outcome with another label, and keeps it."""

    code, reason = Code.ALREADY_EXISTS, Reason.ALREADY_EXISTS


class IncompatibleChange(MeshError):
    """The change would break stored values or live versions."""

    code, reason = Code.FAILED_PRECONDITION, Reason.INCOMPATIBLE_CHANGE


class VersionNotReady(MeshError):
    """No live model process has reported the version READY."""

    code, reason = Code.FAILED_PRECONDITION, Reason.VERSION_NOT_READY


class GateFailed(MeshError):
    """The version has not passed every gate; one violation for each, with its remedy."""

    code, reason = Code.FAILED_PRECONDITION, Reason.GATE_FAILED


class ReleaseActive(MeshError):
    """A release of the endpoint is under way."""

    code, reason = Code.FAILED_PRECONDITION, Reason.RELEASE_ACTIVE


class NoRelease(MeshError):
    """The endpoint has no release that this could be done to."""

    code, reason = Code.FAILED_PRECONDITION, Reason.NO_RELEASE


class InUse(MeshError):
    """Something else still names what should go."""

    code, reason = Code.FAILED_PRECONDITION, Reason.IN_USE


class UnknownArtifact(MeshError):
    """No artifact of that digest has been uploaded."""

    code, reason = Code.FAILED_PRECONDITION, Reason.UNKNOWN_ARTIFACT


class MissingArtifact(MeshError):
    """No artifact of that digest is stored, and the request is about it."""

    code, reason = Code.NOT_FOUND, Reason.UNKNOWN_ARTIFACT


class NotEmpty(MeshError):
    """An import needs an empty registry."""

    code, reason = Code.FAILED_PRECONDITION, Reason.NOT_EMPTY


class VersionExists(MeshError):
    """The version exists with other content, and versions are immutable."""

    code, reason = Code.ALREADY_EXISTS, Reason.ALREADY_EXISTS


class RevisionConflict(MeshError):
    """The log has moved on since the expected revision."""

    code, reason = Code.ABORTED, Reason.REVISION_CONFLICT


class DigestMismatch(MeshError):
    """The bytes are not what was promised."""

    code, reason = Code.INVALID_ARGUMENT, Reason.DIGEST_MISMATCH


class SnapshotTooLarge(MeshError):
    """All definitions together could not be sent to those who read them."""

    code, reason = Code.FAILED_PRECONDITION, Reason.INVALID_DEFINITION
