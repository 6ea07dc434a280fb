"""Tells of callers who were not let in: each is counted, and the log has as many of them as it can bear."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.mesh.admission.allowance import Allowance
from services.mesh.errors import MeshError
from services.mesh.security.caller import AUTHORIZATION, Caller
from services.mesh.security.keys import PREFIX, digest
from services.mesh.security.peer import peer_identity
from services.mesh.telemetry import names

if TYPE_CHECKING:
    from services.mesh.methods import ServerContext

logger = logging.getLogger("predictmesh.audit")
# Whatever else is logged: it is what an investigation begins with.
logger.setLevel(logging.INFO)
LINES_PER_S = 50.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """What somebody tried: the method's path, from where, and who it was as far as that is known."""

    method: str
    address: str = ""
    request_id: str = ""
    caller: str = ""
    identity: str = ""
    authorization: str | bytes = ""

    @classmethod
    def of(
        cls,
        method: str,
        context: ServerContext,
        headers: Mapping[str, str | bytes],
        *,
        request_id: str,
        caller: Caller | None,
    ) -> Attempt:
        """Return what a call was tried as: by what it has brought, and by who was found to make it."""
        return cls(
            method=method,
            address=context.peer(),
            request_id=request_id,
            caller=caller.name if caller is not None else "",
            identity=peer_identity(context) or "",
            authorization=headers.get(AUTHORIZATION, ""),
        )


class Audit:
    """Notes refusals of one service."""

    def __init__(self, service: str, *, lines_per_s: float = LINES_PER_S) -> None:
        self._service = service
        self._lines = Allowance(lines_per_s)
        self._left_out = 0

    def refused(self, attempt: Attempt, error: MeshError) -> None:
        """Note a refusal."""
        names.ACCESS_REFUSALS.labels(self._service, error.reason).inc()
        if self._lines.left() < 1:
            self._left_out += 1
            return
        self._lines.use()
        told = {
            "method": attempt.method,
            "reason": str(error.reason),
            "caller": attempt.caller,
            "identity": attempt.identity,
            "credential": _kind(attempt),
            "peer": attempt.address,
            "token_sha256": _fingerprint(_shown(attempt)),
            "request_id": attempt.request_id,
            "left_out": self._left_out,
        }
        self._left_out = 0
        logger.warning(error.message, extra={key: value for key, value in told.items() if value})


def _shown(attempt: Attempt) -> str:
    """Return the key or token, or nothing."""
    return attempt.authorization.rpartition(" ")[2] if isinstance(attempt.authorization, str) else ""


def _kind(attempt: Attempt) -> str:
    """Return what the caller goes by: the subject of a token may have the same name as a key."""
    if token := _shown(attempt):
        return "key" if token.startswith(PREFIX) else "token"
    return "certificate" if attempt.identity else ""


def _fingerprint(token: str) -> str:
    """Return a part of the SHA-256 of a token, by which an entry of the access file can be found, and nothing more."""
    return digest(token).hex()[:16] if token else ""
