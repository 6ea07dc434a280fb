"""Why a caller is not let in. None of these says what was sent."""

from __future__ import annotations

from services.mesh.errors import Code, MeshError, Reason


class MissingCredentials(MeshError):
    """The call came without a token, and without a certificate that is known."""

    code, reason = Code.UNAUTHENTICATED, Reason.MISSING_CREDENTIALS


class InvalidCredentials(MeshError):
    """The token is none that is known."""

    code, reason = Code.UNAUTHENTICATED, Reason.INVALID_CREDENTIALS


class ExpiredCredentials(MeshError):
    """The token is good, but not now."""

    code, reason = Code.UNAUTHENTICATED, Reason.EXPIRED_CREDENTIALS


class MissingRole(MeshError):
    """The caller has no role that may do so."""

    code, reason = Code.PERMISSION_DENIED, Reason.MISSING_ROLE


class EndpointNotAllowed(MeshError):
    """The caller may do so, but not to what has this name."""

    code, reason = Code.PERMISSION_DENIED, Reason.ENDPOINT_NOT_ALLOWED


class IssuerUnavailable(MeshError):
    """Whether the token is good cannot be told now."""

    code, reason = Code.UNAVAILABLE, Reason.ISSUER_UNAVAILABLE


ABOUT_CALLERS = (MissingCredentials, InvalidCredentials, ExpiredCredentials, MissingRole, EndpointNotAllowed)
"""Errors that are about who calls, and that go away by nothing else."""
