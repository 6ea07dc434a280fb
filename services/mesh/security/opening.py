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
    if settings.access_file is None:
        if not _is_loopback(settings.host):
            logger.warning(
                "whoever can reach this port may do everything: there is no access_file", extra={"host": settings.host}
            )
        yield None
        return
    try:
        guard = Guard(service, settings.access_file)
    except AccessFileError as error:
        raise SettingsError(f"access_file: {error}") from error
    if guard.needs_certificates and (settings.tls_ca_file is None or not settings.tls_client_certificates):
        raise SettingsError("access_file: its peers show certificates, which only a service with tls_ca_file asks for")
    async with guard.running():
        yield guard


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
