"""The certificate of a process, read again whenever its files change, without a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from services.mesh.errors import InvalidArgument
from services.mesh.security.certificates import Material, TlsFiles, read
from services.mesh.security.watching import watching

logger = logging.getLogger(__name__)


class Identity:
    """Shows a process to others, and tells whom it trusts.

    `current` is what its files held when they last made sense; `refused` is why what they hold now is not used, or empty.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._replaced = asyncio.Event()
        self.current = read(files)
        self.refused = ""

    async def newer_than(self, known: Material) -> Material:
        """Return what is current once it is not `known`."""
        while self.current is known:
            await self._replaced.wait()
        return self.current

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return what a new channel shows, and whom it trusts, from now on."""
        now = self.current
        return grpc.ssl_channel_credentials(now.ca, now.key, now.cert)

    def server_credentials(self, *, of_clients: bool) -> grpc.ServerCredentials:
        """Return what a server shows at each handshake: what is current then. With `of_clients` they show theirs, too."""
        shown = self.current

        # gRPC asks in a thread of its own, which only reads.
        def newer() -> grpc.ServerCertificateConfiguration | None:
            nonlocal shown
            if self.current is shown:
                return None
            shown = self.current
            return _configuration(shown)

        return grpc.dynamic_ssl_server_credentials(_configuration(shown), newer, of_clients)  # type: ignore[arg-type]  # None: nothing is newer

    def reload(self) -> None:
        """Take what the files hold now; while that makes no sense, keep what they held before."""
        try:
            material = read(self._files)
        except InvalidArgument as error:
            # One file may be replaced before the other: they make sense when that has changed, too.
            self.refused = error.message
            logger.warning("the new certificate is not used, the one before still is", extra={"cause": error.message})
            return
        self.refused = ""
        if material == self.current:
            return
        self.current = material
        replaced, self._replaced = self._replaced, asyncio.Event()
        replaced.set()
        logger.info("the certificate was replaced", extra={"names": material.names, "expires": material.expires})


@asynccontextmanager
async def open_identity(files: TlsFiles | None) -> AsyncIterator[Identity | None]:
    """Read the files, and follow their changes for the time of the context; None without files. InvalidArgument if amiss."""
    if files is None:
        yield None
        return
    identity = Identity(files)
    async with watching([file for file in files if file is not None], identity.reload):
        yield identity


def open_channel(target: str, options: list[tuple[str, str | int]], identity: Identity | None) -> grpc.aio.Channel:
    """Return a channel that shows `identity` and verifies the other end, its name included; plain without one."""
    if identity is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, identity.channel_credentials(), options=options)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.cert)], material.ca)
