"""The error of a hop that is not asked."""

from __future__ import annotations

from services.mesh.errors import Code, MeshError, Reason


class CircuitOpen(MeshError):
    """Every replica of the hop has been failing, so that none is asked."""

    code, reason = Code.UNAVAILABLE, Reason.CIRCUIT_OPEN
