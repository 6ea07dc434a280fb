"""The errors of this service."""

from __future__ import annotations

from services.mesh.errors import Code, MeshError, Reason


class UnknownView(MeshError):
    """This service knows no such view."""

    code, reason = Code.NOT_FOUND, Reason.UNKNOWN_VIEW


class ViewNotKnownYet(MeshError):
    """A plan names a view or schema id that has not arrived here; it may be under way."""

    code, reason = Code.FAILED_PRECONDITION, Reason.UNKNOWN_VIEW


class UnknownPlan(MeshError):
    """The plan id is not known; the caller repeats the call with the plan."""

    code, reason = Code.FAILED_PRECONDITION, Reason.UNKNOWN_PLAN


class UnknownEntity(MeshError):
    """No view has that entity."""

    code, reason = Code.NOT_FOUND, Reason.UNKNOWN_ENTITY


class UnknownKeyColumn(MeshError):
    """The entity has no such key column."""

    code, reason = Code.INVALID_ARGUMENT, Reason.UNKNOWN_ENTITY


class UnknownField(MeshError):
    """The view has no such field."""

    code, reason = Code.INVALID_ARGUMENT, Reason.UNKNOWN_FIELD


class MissingKey(MeshError):
    """A key column is missing or a key is empty."""

    code, reason = Code.INVALID_ARGUMENT, Reason.MISSING_KEY


class KeyTooLong(MeshError):
    """The key columns of one row are too long together."""

    code, reason = Code.INVALID_ARGUMENT, Reason.KEY_TOO_LONG


class RowsOutOfRange(MeshError):
    """Fewer rows than 1 or more than the limit."""

    code, reason = Code.INVALID_ARGUMENT, Reason.ROWS_OUT_OF_RANGE


class LengthMismatch(MeshError):
    """Columns of one request have different lengths."""

    code, reason = Code.INVALID_ARGUMENT, Reason.LENGTH_MISMATCH


class TypeMismatch(MeshError):
    """Values are of another type than the definition says."""

    code, reason = Code.INVALID_ARGUMENT, Reason.TYPE_MISMATCH


class ShapeMismatch(MeshError):
    """Values are of another shape than the definition says."""

    code, reason = Code.INVALID_ARGUMENT, Reason.SHAPE_MISMATCH
