"""The public keys of an issuer (JWKS), from a file or by https: cached, and looked at again when a key is not among them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

from jwt import PyJWK

from services.mesh.security.errors import InvalidCredentials, IssuerUnavailable

logger = logging.getLogger(__name__)
# A flood of tokens with keys that do not exist must not become one of questions to the issuer.
REFETCH_S = 10.0
TIMEOUT_S = 5.0
MAX_BYTES = 1 << 20
# Calls that may wait for one answer of the issuer; each holds a message of its caller.
MAX_WAITING = 1_000
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


Keys = Mapping[str | None, Sequence[VerificationKey]]


class KeySet:
    """The keys at `source`, a URL or the path of a file. `clock` is in seconds."""

    def __init__(
        self,
        source: str,
        *,
        refetch_s: float = REFETCH_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._refetch_s = refetch_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._keys: Keys = {}
        self._asked = -float("inf")
        self._asking: asyncio.Task[None] | None = None
        self._waiting = 0

    def __len__(self) -> int:
        return sum(map(len, self._keys.values()))

    async def find(self, kid: str | None) -> Sequence[VerificationKey]:
        """Return the keys that may be meant by an id, or by none; there is at least one.

        Raises InvalidCredentials, or IssuerUnavailable where the issuer does not answer and no key is known at all, or where
        it takes too long to.
        """
        found = self._find(kid)
        if not found:
            await self._ask_again()
            found = self._find(kid)
        if found:
            return found
        if not self._keys:
            raise self._unavailable()
        raise InvalidCredentials("the token is signed with a key that its issuer does not publish")

    def _find(self, kid: str | None) -> Sequence[VerificationKey]:
        if kid is None and len(self) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid, ())

    def _unavailable(self) -> IssuerUnavailable:
        return IssuerUnavailable(
            "the token cannot be checked: the keys of its issuer cannot be fetched", retry_after_s=self._refetch_s
        )

    async def _ask_again(self) -> None:
        """Fetch the keys unless that was tried a moment ago; who comes meanwhile waits for the same answer."""
        if self._asking is None and self._clock() - self._asked < self._refetch_s:
            return
        if self._waiting >= MAX_WAITING:
            raise self._unavailable()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                await self.refresh()
        except TimeoutError:
            raise self._unavailable() from None
        finally:
            self._waiting -= 1

    async def keep_fresh(self, every_s: float) -> None:
        """Fetch the keys again and again."""
        while True:
            await self.refresh()
            await asyncio.sleep(every_s)

    async def refresh(self) -> None:
        """Fetch the keys; if that fails the old ones stay. It goes on if the caller is cancelled: others wait for it, too."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        try:
            self._keys = _parsed(await asyncio.to_thread(_fetched, self._source, self._timeout_s))
        except Exception as error:  # noqa: BLE001 - whatever an issuer sends, it is asked again
            logger.warning(
                "the keys of the issuer of tokens cannot be fetched", extra={"jwks": self._source, "cause": repr(error)}
            )
        finally:
            self._asked = self._clock()
            self._asking = None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing: it may lead away from https."""


def _fetched(source: str, timeout_s: float) -> bytes:
    if "://" not in source:
        return Path(source).read_bytes()
    until = time.monotonic() + timeout_s
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if source.lower().startswith("http://"):
        # It is of this machine: a proxy would take it elsewhere, where anybody can answer.
        handlers.append(urllib.request.ProxyHandler({}))
    with urllib.request.build_opener(*handlers).open(source, timeout=timeout_s) as response:
        return _read(response, until)


def _read(response: HTTPResponse, until: float) -> bytes:
    data = bytearray()
    while part := response.read1(MAX_BYTES):
        data += part
        if len(data) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        if time.monotonic() > until:
            raise TimeoutError("the answer takes too long")
    return bytes(data)


def _parsed(data: bytes) -> Keys:
    document = json.loads(data)
    entries = document.get("keys") if isinstance(document, dict) else None
    found: dict[str | None, list[VerificationKey]] = {}
    for entry in entries if isinstance(entries, list) else ():
        try:
            key = _key(entry)
        except Exception:  # noqa: BLE001, S112 - of a kind or a curve that we do not know, or none at all; others may do
            continue
        if key is not None:
            found.setdefault(entry.get("kid"), []).append(key)
    if not found:
        raise ValueError("no JSON Web Key Set with a public key that can be used")
    return found


def _key(entry: Any) -> VerificationKey | None:  # noqa: ANN401 - whatever stands in the JSON
    """Return a key of the set; None if it is not for signatures that we take. What is no key at all raises something."""
    allowed = _ALGORITHMS.get(entry["kty"], ())
    if "alg" in entry:
        allowed = [entry["alg"]] if entry["alg"] in allowed else []
    if not allowed or entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid"), str | None):
        return None
    return VerificationKey(PyJWK(entry).key, allowed)
