"""One access file in use: whom a token or a certificate belongs to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from services.mesh.security.access_file import AccessFile, Key, Peer
from services.mesh.security.caller import Caller, Names
from services.mesh.security.errors import ExpiredCredentials, InvalidCredentials, MissingCredentials
from services.mesh.security.keys import PREFIX, digest

if TYPE_CHECKING:
    from services.mesh.security.tokens import TokenChecker

# Tokens that have been checked, at most; the oldest are checked again.
MAX_CHECKED = 10_000
_SCHEME = "bearer "
_REMEDY = "send `authorization: Bearer KEY-OR-TOKEN`"


class Access:
    """Finds callers. `checker` is of the file's issuer, where it has one; `clock` is in seconds since the epoch."""

    def __init__(
        self, file: AccessFile, checker: TokenChecker | None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.file = file
        self.checker = checker
        self._clock = clock
        self._by_key = {bytes.fromhex(key.sha256): _caller(key, key.name) for key in file.keys}
        self._by_identity: Mapping[str, Caller] = {peer.identity: _caller(peer, peer.identity) for peer in file.peers}
        self._checked: dict[bytes, Caller] = {}

    @property
    def knows_peers(self) -> bool:
        """Whether a certificate may do instead of a token."""
        return bool(self._by_identity)

    def of_peer(self, identity: str | None) -> Caller:
        """Return whose certificate it is; raises MissingCredentials."""
        caller = self._by_identity.get(identity or "")
        if caller is not None:
            return caller
        if identity is None:
            raise MissingCredentials(f"who calls? {_REMEDY}", field="authorization")
        raise MissingCredentials(
            f"the certificate of {identity[:256]} is not enough here: {_REMEDY}", field="authorization"
        )

    def of_token(self, token: str) -> Caller | None:
        """Return whose key or token it is; None if it must be checked first. Raises InvalidCredentials or Expired..."""
        found = digest(token)
        caller = self._by_key.get(found) or self._checked.get(found)
        if caller is not None and self._clock() < caller.until:
            return caller
        if caller is not None and found in self._by_key:
            raise ExpiredCredentials(f"the key {caller.name} has expired: ask for another one", field="authorization")
        if self.checker is None or token.startswith(PREFIX):
            raise InvalidCredentials("the key is not known here (any more)", field="authorization")
        return None

    async def check(self, token: str) -> Caller:
        """Return whose token it is; raises InvalidCredentials, ExpiredCredentials or IssuerUnavailable."""
        assert self.checker is not None
        caller = await self.checker.check(token)
        if len(self._checked) >= MAX_CHECKED:
            del self._checked[next(iter(self._checked))]
        self._checked[digest(token)] = caller
        return caller


def token_of(authorization: str | bytes) -> str:
    """Return the token of a header; raises InvalidCredentials if there is none in it."""
    text = authorization if isinstance(authorization, str) else ""
    if text[: len(_SCHEME)].lower() != _SCHEME:
        raise InvalidCredentials(f"the metadata authorization holds no bearer token: {_REMEDY}", field="authorization")
    return text[len(_SCHEME) :].strip()


def _caller(entry: Key | Peer, name: str) -> Caller:
    names = None if entry.endpoints is None else Names(entry.endpoints)
    expires = entry.expires if isinstance(entry, Key) else None
    return Caller(name, frozenset(entry.roles), names, math.inf if expires is None else expires.timestamp())
