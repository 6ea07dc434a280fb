"""The public keys of an issuer (JWKS), from a file or by https: cached, and looked at again when a key is not among them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from services.mesh.security.errors import InvalidCredentials, IssuerUnavailable

logger = logging.getLogger(__name__)
# A flood of tokens with keys that do not exist must not become one of questions to the issuer.
REFETCH_S = 10.0
TIMEOUT_S = 5.0
MAX_BYTES = 1 << 20
# No symmetric ones: whoever could check a token could make it.
_ALGORITHMS: Mapping[str, Sequence[str]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}


class VerificationKey(NamedTuple):
    """A public key, and the algorithms that it may have signed by."""

    key: Any
    algorithms: Sequence[str]


class KeySet:
    """The keys at `source`, a URL or the path of a file. `clock` is in seconds."""

    def __init__(
        self, source: str, *, refetch_s: float = REFETCH_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._refetch_s = refetch_s
        self._clock = clock
        self._keys: Mapping[str | None, VerificationKey] = {}
        self._asked = -float("inf")
        self._asking = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    async def find(self, kid: str | None) -> VerificationKey:
        """Return the key of that id; raises InvalidCredentials, or IssuerUnavailable where no key is known at all."""
        found = self._find(kid)
        if found is None:
            await self._ask_again()
            found = self._find(kid)
        if found is not None:
            return found
        if not self._keys:
            raise IssuerUnavailable(
                "the token cannot be checked: the keys of its issuer cannot be fetched", retry_after_s=self._refetch_s
            )
        raise InvalidCredentials("the token is signed with a key that its issuer does not publish")

    def _find(self, kid: str | None) -> VerificationKey | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _ask_again(self) -> None:
        """Fetch the keys unless that was tried a moment ago; who comes meanwhile waits for the same answer."""
        async with self._asking:
            if self._clock() - self._asked >= self._refetch_s:
                await self.refresh()

    async def keep_fresh(self, every_s: float) -> None:
        """Fetch the keys again and again."""
        while True:
            async with self._asking:
                await self.refresh()
            await asyncio.sleep(every_s)

    async def refresh(self) -> None:
        """Fetch the keys; if that fails the old ones stay."""
        self._asked = self._clock()
        try:
            self._keys = _parsed(await asyncio.to_thread(_fetched, self._source))
        except (OSError, ValueError) as error:
            logger.warning(
                "the keys of the issuer of tokens cannot be fetched", extra={"jwks": self._source, "cause": str(error)}
            )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing: it may lead away from https."""


def _fetched(source: str) -> bytes:
    if "://" not in source:
        return Path(source).read_bytes()
    opener = urllib.request.build_opener(_NoRedirects)
    with opener.open(source, timeout=TIMEOUT_S) as response:
        data: bytes = response.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return data


def _parsed(data: bytes) -> Mapping[str | None, VerificationKey]:
    document = json.loads(data)
    entries = document.get("keys") if isinstance(document, dict) else None
    found: dict[str | None, VerificationKey] = {}
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") not in _ALGORITHMS:
            continue
        allowed = _ALGORITHMS[entry["kty"]]
        if "alg" in entry:
            allowed = [entry["alg"]] if entry["alg"] in allowed else []
        try:
            if allowed:
                found[entry.get("kid")] = VerificationKey(PyJWK(entry).key, allowed)
        except PyJWTError:
            continue  # of a curve that we do not know; others may do
    if not found:
        raise ValueError("no JSON Web Key Set with a public key that can be used")
    return found
