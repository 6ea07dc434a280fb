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
from services.mesh.security.access_file import AccessFile, AccessFileError, read_access_file
from services.mesh.security.audit import Attempt, Audit
from services.mesh.security.caller import AUTHORIZATION, Caller, Role
from services.mesh.security.errors import EndpointNotAllowed, MissingRole
from services.mesh.security.rules import Rule
from services.mesh.security.watching import LOOK_EVERY_S, watching
from services.mesh.telemetry import names

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from services.mesh.security.tokens import TokenChecker

logger = logging.getLogger(__name__)
Headers = Mapping[str, str | bytes]
# Answers the name in the caller's certificate, if it has one; asked only where it may matter.
Identity = Callable[[], str | None]


class Guard:
    """Stands before the methods of one service."""

    def __init__(self, service: str, path: Path) -> None:
        """Read the file at `path`; raises AccessFileError."""
        self._service = service
        self._path = path
        self._fetching: asyncio.Task[None] | None = None
        self._access = _access(read_access_file(path), None)
        self._fault = ""
        self._audit = Audit(service)
        names.ACCESS_RELOAD_FAILURES.labels(service)

    @asynccontextmanager
    async def running(self, *, look_every_s: float = LOOK_EVERY_S) -> AsyncIterator[None]:
        """Follow the file, and the keys of the issuer of tokens, for the time of the context."""
        self._fetch(None)
        try:
            async with watching([self._path], self.reload, every_s=look_every_s):
                yield
        finally:
            if self._fetching is not None:
                self._fetching.cancel()

    @property
    def needs_certificates(self) -> bool:
        """Whether somebody is known by a certificate alone."""
        return self._access.knows_peers

    def reload(self) -> None:
        """Read the file again; if it cannot be used, what was before holds."""
        try:
            file = read_access_file(self._path)
        except AccessFileError as error:
            self._fault = str(error)
            names.ACCESS_RELOAD_FAILURES.labels(self._service).inc()
            logger.error("the access file cannot be used; the one before holds", extra={"cause": self._fault})  # noqa: TRY400 - the cause is all there is to say
            return
        before, self._fault = self._access.checker, ""
        self._access = _access(file, before if file.jwt == self._access.file.jwt else None)
        self._fetch(before)
        logger.info("access file read", extra=self.status())

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

    def _fetch(self, before: TokenChecker | None) -> None:
        """Have the keys of the present issuer fetched, unless it is the one before."""
        checker, issuer = self._access.checker, self._access.file.jwt
        if checker is before and self._fetching is not None:
            return
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None
        if checker is not None and issuer is not None:
            self._fetching = asyncio.create_task(checker.keys.keep_fresh(issuer.refresh_s))


def check_role(caller: Caller, rule: Rule, method: str) -> None:
    """Raise MissingRole if the caller may not call the method at all."""
    if caller.roles.isdisjoint(rule.roles):
        raise MissingRole(
            f"{caller.name} may not call {method}: it takes the role {_listed(rule.roles)}, not {_listed(caller.roles)}",
            field=AUTHORIZATION,
            caller=caller.name,
        )
    if rule.whole and caller.names is not None:
        raise EndpointNotAllowed(
            f"{caller.name} may not call {method}: it is about all names, and {caller.name} is limited to some",
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


def _access(file: AccessFile, checker: TokenChecker | None) -> Access:
    if file.jwt is None:
        return Access(file, None)
    if checker is None:
        # Only where there are tokens to check: it takes a fifth of a second, and 13 MB.
        from services.mesh.security.key_set import KeySet  # noqa: PLC0415
        from services.mesh.security.tokens import TokenChecker  # noqa: PLC0415

        checker = TokenChecker(file.jwt, KeySet(file.jwt.jwks))
    return Access(file, checker)
