"""Puts the guard of a service in its place, or says that there is none."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

from services.mesh.security.access_file import AccessFileError
from services.mesh.security.guard import Guard
from services.mesh.settings import ServiceSettings, SettingsError

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_guard(service: str, settings: ServiceSettings) -> AsyncIterator[Guard | None]:
    """Read the access file, and follow its changes for the time of the context; None without one. SettingsError if amiss."""
    beyond = not _is_loopback(settings.host)
    if settings.access_file is None:
        if beyond:
            logger.warning(
                "whoever can reach this port may do everything: there is no access_file", extra={"host": settings.host}
            )
        yield None
        return
    asks_certificates = settings.tls_ca_file is not None and settings.tls_client_certificates
    try:
        guard = Guard(service, settings.access_file, asks_certificates=asks_certificates)
    except AccessFileError as error:
        raise SettingsError(f"access_file: {error}") from error
    if beyond and settings.tls is None:
        logger.warning(
            "keys and tokens come to this port in clear unless a proxy of this machine takes them: there is no tls_cert_file",
            extra={"host": settings.host},
        )
    async with guard.running():
        yield guard


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
