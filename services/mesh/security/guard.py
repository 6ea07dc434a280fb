"""Lets callers in, by the newest access file that could be read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from services.mesh.errors import MeshError
from services.mesh.security.access import Access, token_of
from services.mesh.security.access_file import AccessFileError, Issuer, read_access_file
from services.mesh.security.audit import Attempt, Audit
from services.mesh.security.caller import AUTHORIZATION, Caller, Role
from services.mesh.security.errors import EndpointNotAllowed, MissingRole
from services.mesh.security.rules import Rule
from services.mesh.security.watching import LOOK_EVERY_S, watching
from services.mesh.telemetry import names

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from services.mesh.security.key_set import KeySet
    from services.mesh.security.tokens import TokenChecker

logger = logging.getLogger(__name__)
Headers = Mapping[str, str | bytes]
# Answers the name in the caller's certificate, if it has one; asked only where it may matter.
Identity = Callable[[], str | None]


class Guard:
    """Stands before the methods of one service. `asks_certificates` says whether callers are asked for theirs."""

    def __init__(self, service: str, path: Path, *, asks_certificates: bool = True) -> None:
        """Read the file at `path`; raises AccessFileError."""
        self._service = service
        self._path = path
        self._asks_certificates = asks_certificates
        self._fetching: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()
        self._access = _read(path, None)
        self._fault = ""
        self._audit = Audit(service)
        names.ACCESS_RELOAD_FAILURES.labels(service)
        self._warn_of_peers()

    @asynccontextmanager
    async def running(self, *, look_every_s: float = LOOK_EVERY_S) -> AsyncIterator[None]:
        """Follow the file, and the keys of the issuer of tokens, for the time of the context."""
        self._follow_issuer(None)
        try:
            async with watching([self._path], self._changed, every_s=look_every_s):
                yield
        finally:
            for task in (self._fetching, *self._reloads):
                if task is not None:
                    task.cancel()

    async def reload(self) -> None:
        """Read the file again; if it cannot be used, what was before holds."""
        async with self._reloading:
            before, fault = self._access, self._fault
            try:
                # Hundreds of keys take longer than calls should wait.
                self._access = await asyncio.to_thread(_read, self._path, before)
            except AccessFileError as error:
                self._failed(str(error))
                return
            except Exception as error:
                logger.exception("the access file is one that nobody has thought of")
                self._failed(repr(error))
                return
            self._fault = ""
        if fault or self._access is not before:
            self._follow_issuer(before)
            self._warn_of_peers()
            logger.info("access file read", extra=self.status())

    def _changed(self) -> None:
        task = asyncio.create_task(self.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    def _failed(self, cause: str) -> None:
        self._fault = cause
        names.ACCESS_RELOAD_FAILURES.labels(self._service).inc()
        logger.error("the access file cannot be used; the one before holds", extra={"cause": cause})

    def _warn_of_peers(self) -> None:
        # One file may be that of several services, of which this one is not told by certificates who calls.
        if self._access.knows_peers and not self._asks_certificates:
            logger.warning(
                "nobody is known by the certificates in the access file: callers are not asked for theirs",
                extra={"peers": len(self._access.file.peers)},
            )

    def status(self) -> dict[str, object]:
        """Return what /statusz tells."""
        access = self._access
        told: dict[str, object] = {"keys": len(access.file.keys), "peers": len(access.file.peers)}
        if access.file.jwt is not None and access.checker is not None:
            told |= {"issuer": access.file.jwt.issuer, "issuer_keys": len(access.checker.keys)}
        return told | ({"fault": self._fault} if self._fault else {})

    def known(self, headers: Headers, identity: Identity | None) -> Caller | None:
        """Return who calls; None if that takes `identify`, or the `identity` that is not given. Raises why nobody does."""
        access, authorization = self._access, headers.get(AUTHORIZATION)
        if authorization is not None:
            return access.of_token(token_of(authorization))
        if identity is not None:
            return access.of_peer(identity() if access.knows_peers else None)
        return None if access.knows_peers else access.of_peer(None)

    async def identify(self, headers: Headers, identity: Identity) -> Caller:
        """Return who calls; raises why nobody does."""
        return self.known(headers, identity) or await self._access.check(token_of(headers[AUTHORIZATION]))

    def note(self, error: MeshError, attempt: Attempt) -> None:
        """Count and log a refusal."""
        self._audit.refused(attempt, error)

    def _follow_issuer(self, before: Access | None) -> None:
        """Have the keys of the present issuer fetched, as long as there are none, or others, than before."""
        followed = _followed(self._access)
        if before is not None and followed == _followed(before):
            return
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None
        if followed is not None:
            keys, every_s = followed
            self._fetching = asyncio.create_task(keys.keep_fresh(every_s))


def check_role(caller: Caller, rule: Rule, method: str) -> None:
    """Raise MissingRole if the caller may not call the method at all."""
    if caller.roles.isdisjoint(rule.roles):
        raise MissingRole(
            f"{caller.name} may not call {method}: it takes the role {_listed(rule.roles)}, not {_listed(caller.roles)}",
            field=AUTHORIZATION,
            caller=caller.name,
        )
    if caller.names is not None and rule.subjects is None and not rule.unlimited:
        raise EndpointNotAllowed(
            f"{caller.name} may not call {method}: it is about no name, and {caller.name} is limited to some",
            field=AUTHORIZATION,
            caller=caller.name,
        )


def check_request(caller: Caller, rule: Rule, method: str, request: Message) -> None:
    """Raise EndpointNotAllowed or MissingRole if the caller may call the method, but not so."""
    if caller.names is not None and rule.subjects is not None:
        for path, name in rule.subjects(request):
            check_name(caller, name, path)
    if getattr(request, "force", False) and Role.OPERATOR not in caller.roles:
        raise MissingRole(
            f"{caller.name} may not force {method}: that takes the role {Role.OPERATOR}",
            field="force",
            caller=caller.name,
        )


def check_name(caller: Caller, name: str, path: str) -> None:
    """Raise EndpointNotAllowed if the caller may not use what has this name, which stands at `path` in its request."""
    if not caller.may_use(name):
        raise EndpointNotAllowed(
            f"{caller.name} may not use {name[:127]!r}: its `endpoints` name others", field=path, caller=caller.name
        )


def _listed(roles: frozenset[Role]) -> str:
    return " or ".join(sorted(roles)) or "none"


def _followed(access: Access) -> tuple[KeySet, float] | None:
    """Return whose keys are fetched, and how often."""
    if access.checker is None or access.file.jwt is None:
        return None
    return access.checker.keys, access.file.jwt.refresh_s


def _read(path: Path, before: Access | None) -> Access:
    """Read the file; raises AccessFileError. What was known `before` is kept as far as the file says the same."""
    file = read_access_file(path)
    if before is not None and file == before.file:
        return before
    return Access(file, None if file.jwt is None else _checker(file.jwt, before))


def _checker(issuer: Issuer, before: Access | None) -> TokenChecker:
    # Only where there are tokens to check: it takes a fifth of a second, and 13 MB.
    from services.mesh.security.key_set import KeySet  # noqa: PLC0415
    from services.mesh.security.tokens import TokenChecker  # noqa: PLC0415

    if before is not None and before.checker is not None and before.file.jwt is not None:
        if before.file.jwt == issuer:
            return before.checker
        if before.file.jwt.jwks == issuer.jwks:
            return TokenChecker(issuer, before.checker.keys)
    return TokenChecker(issuer, KeySet(issuer.jwks))
