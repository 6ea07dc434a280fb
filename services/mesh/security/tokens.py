"""Tokens (JWT): whether one is what it says, and who its bearer is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import jwt

from services.mesh.security.access_file import Issuer
from services.mesh.security.caller import PATTERN, Caller, Names, Role
from services.mesh.security.errors import ExpiredCredentials, InvalidCredentials
from services.mesh.security.key_set import KeySet, VerificationKey

# A token is checked again after so long: its key may have been withdrawn.
CHECKED_FOR_S = 60.0
MAX_NAME = 128


class TokenChecker:
    """Checks the tokens of one issuer by its `keys`."""

    def __init__(self, issuer: Issuer, keys: KeySet) -> None:
        self._issuer = issuer
        self.keys = keys

    async def check(self, token: str) -> Caller:
        """Return the bearer, as far as is known for a minute; raises InvalidCredentials, Expired..., or IssuerUnavailable."""
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError:
            raise InvalidCredentials("the token is neither an API key nor a JWT") from None
        for key in await self.keys.find(kid):
            claims = self._claims(token, key)
            if claims is not None:
                return self._caller(claims)
        raise InvalidCredentials("the token is not signed by its issuer")

    def _claims(self, token: str, key: VerificationKey) -> Mapping[str, Any] | None:
        """Return what the token says; None if it is not signed by the key. Raises why what it says does not hold."""
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key.key,
                list(key.algorithms),
                audience=self._issuer.audience,
                issuer=self._issuer.issuer,
                leeway=self._issuer.leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise ExpiredCredentials("the token has expired: get a new one of its issuer") from None
        except jwt.ImmatureSignatureError:
            raise ExpiredCredentials("the token is not valid yet: do the clocks differ?") from None
        except jwt.InvalidAudienceError:
            raise InvalidCredentials(
                f"the token is for another audience than {self._issuer.audience}", audience=self._issuer.audience
            ) from None
        except jwt.InvalidIssuerError:
            raise InvalidCredentials("the token is of an issuer that is not trusted here") from None
        except jwt.MissingRequiredClaimError as error:
            raise InvalidCredentials(f"the token has no claim {error.claim}") from None
        except jwt.PyJWTError:
            return None
        return claims

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        name = _claim(claims, self._issuer.name_claim)
        if not isinstance(name, str) or not name.isprintable() or not name:
            raise InvalidCredentials(f"the token's claim {self._issuer.name_claim} says nobody's name")
        names = None
        if self._issuer.endpoints_claim is not None:
            names = Names([text for text in _texts(claims, self._issuer.endpoints_claim) if PATTERN.fullmatch(text)])
        return Caller(
            name=name[:MAX_NAME],
            roles=frozenset([*self._issuer.default_roles, *self._roles(claims)]),
            names=names,
            until=min(time.time() + CHECKED_FOR_S, float(claims["exp"]) + self._issuer.leeway_s),
        )

    def _roles(self, claims: Mapping[str, Any]) -> Iterable[Role]:
        known = {role.value: role for role in Role} if self._issuer.role_names is None else self._issuer.role_names
        return [known[text] for text in _texts(claims, self._issuer.roles_claim) if text in known]


def _texts(claims: Mapping[str, Any], path: str) -> list[str]:
    found = _claim(claims, path)
    if isinstance(found, str):
        return found.split()
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _claim(claims: Mapping[str, Any], path: str) -> object:
    """Return a claim by its name, which may have dots in it, or by its path."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found
