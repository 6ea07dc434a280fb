"""How long the certificate of a service is good for: in its metrics, in its status, and in the log before it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from services.mesh.background import background
from services.mesh.security.certificates import TlsFiles
from services.mesh.security.identity import Identity, open_identity
from services.mesh.telemetry import names

logger = logging.getLogger(__name__)
# With less than this part of its life left it should have been replaced.
LATE = 0.25
SAID_EVERY_S = 3600.0


@asynccontextmanager
async def open_told_identity(files: TlsFiles | None, service: str) -> AsyncIterator[Identity | None]:
    """Open the identity of a service as `open_identity` does, and tell of it for the time of the context."""
    if files is None:
        yield None
        return
    validity = _Validity(service)
    async with open_identity(files, validity.note) as identity:
        assert identity is not None
        async with background(validity.warn(identity)):
            yield identity


class _Validity:
    """Tells of one certificate, by `note` whenever its files have changed."""

    def __init__(self, service: str) -> None:
        self._not_before = names.CERTIFICATE_NOT_BEFORE.labels(service)
        self._not_after = names.CERTIFICATE_NOT_AFTER.labels(service)
        self._failures = names.CERTIFICATE_RELOAD_FAILURES.labels(service)

    def note(self, identity: Identity) -> None:
        """Say what has become of the files."""
        now = identity.current
        if identity.refused:
            self._failures.inc()
            logger.warning("the new certificate is not used, the one before is", extra={"cause": identity.refused})
        else:
            logger.info("certificate in use", extra={"names": now.names, "not_after": now.not_after.isoformat()})
        self._not_before.set(now.not_before.timestamp())
        self._not_after.set(now.not_after.timestamp())

    async def warn(self, identity: Identity) -> None:
        """Log once an hour that the certificate should have been replaced, while it should; until cancelled."""
        while True:
            now = identity.current
            left, life = now.not_after - datetime.now(UTC), now.not_after - now.not_before
            if left < LATE * life:
                logger.warning("the certificate ends soon", extra={"not_after": now.not_after.isoformat()})
            await asyncio.sleep(SAID_EVERY_S)


def certificate_status(identity: Identity) -> dict[str, object]:
    """Return what `predictmesh status` shows of it."""
    now = identity.current
    shown: dict[str, object] = {"names": list(now.names), "until": now.not_after.isoformat(timespec="seconds")}
    return shown | ({"refused": identity.refused} if identity.refused else {})
