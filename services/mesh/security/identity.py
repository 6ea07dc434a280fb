"""The certificate of a process, read again whenever its files change, without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc

from services.mesh.errors import InvalidArgument
from services.mesh.security.certificates import Material, TlsFiles, read
from services.mesh.security.watching import LOOK_EVERY_S, watching


class Identity:
    """Shows a process to others, and tells whom it trusts.

    `current` is what its files held when they last made sense; `refused` is why what they hold now is not used, or empty.
    `early`: only because it does not hold yet, so that they have to be read again though they stay as they are.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._replaced = asyncio.Event()
        self.current = read(files)
        self.refused = ""
        self.early = False

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

    def reload(self) -> bool:
        """Take what the files hold now, unless that makes no sense, or does not hold now; return whether anything is new."""
        before = self.current, self.refused
        self.early = False
        try:
            material = read(self._files)
        except InvalidArgument as error:
            # One file may be replaced before the other: they make sense when that has changed, too.
            self.refused = error.message
            return before != (self.current, self.refused)
        self.refused = ""
        if material.cert != self.current.cert:
            self.refused = _untimely(material)
            self.early = bool(self.refused) and not material.late
        if material != self.current and not self.refused:
            self._replace(material)
        return before != (self.current, self.refused)

    def _replace(self, material: Material) -> None:
        self.current = material
        replaced, self._replaced = self._replaced, asyncio.Event()
        replaced.set()


def _untimely(material: Material) -> str:
    """Return why the certificate is of no use now, or nothing. At a start nobody asks: there is none to go on with."""
    if material.late:
        return f"the certificate has ended, at {material.not_after.isoformat()}"
    return f"the certificate does not hold before {material.not_before.isoformat()}" if material.early else ""


def _nothing(_: Identity) -> None:
    """Tell nobody."""


@asynccontextmanager
async def open_identity(
    files: TlsFiles | None, note: Callable[[Identity], None] = _nothing
) -> AsyncIterator[Identity | None]:
    """Read the files, and follow their changes for the time of the context; None without files. InvalidArgument if amiss.

    `note` is called at first, and when the files have changed.
    """
    if files is None:
        yield None
        return
    identity = Identity(files)
    note(identity)

    def changed() -> bool:
        if identity.reload():
            note(identity)
        return identity.early

    async with watching([file for file in files if file is not None], changed, every_s=LOOK_EVERY_S):
        yield identity


def open_channel(target: str, options: list[tuple[str, str | int]], identity: Identity | None) -> grpc.aio.Channel:
    """Return a channel that shows `identity` and verifies the other end, its name included; plain without one."""
    if identity is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, identity.channel_credentials(), options=options)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.cert)], material.ca)
