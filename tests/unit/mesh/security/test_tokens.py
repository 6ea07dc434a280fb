"""A token is taken if its issuer has signed it, for us, and its time has come and is not over."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from services.mesh.errors import MeshError, Reason
from services.mesh.security import access_file
from services.mesh.security.caller import Role
from services.mesh.security.key_set import KeySet
from services.mesh.security.tokens import CHECKED_FOR_S, TokenChecker
from tests.support.issuers import AUDIENCE, ISSUER, Issuer


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """An issuer with a key of each kind."""
    made = Issuer()
    for kid, algorithm in (("one", "ES256"), ("rsa", "RS256"), ("pss", "PS256"), ("ed", "EdDSA")):
        made.add(kid, algorithm)
    return made


@pytest.fixture
def jwks(issuer: Issuer, tmp_path: Path) -> str:
    """Where its keys are."""
    return issuer.publish(tmp_path / "jwks.json")


def checker(jwks: str, **settings: Any) -> TokenChecker:
    """Return the checker of its tokens."""
    made = access_file.Issuer(issuer=ISSUER, audience=AUDIENCE, jwks=jwks, **settings)
    return TokenChecker(made, KeySet(jwks))


async def refused(jwks: str, token: str) -> tuple[Reason, str]:
    """Return why a token is not taken."""
    with pytest.raises(MeshError) as error:
        await checker(jwks).check(token)
    assert token not in error.value.message
    return error.value.reason, error.value.message


@pytest.mark.parametrize("kid", ["one", "rsa", "pss", "ed"])
async def test_bearer(issuer: Issuer, jwks: str, kid: str) -> None:
    """Whichever way it is signed, it says who its bearer is, for a minute at most."""
    caller = await checker(jwks).check(issuer.token(kid, exp=time.time() + 3600))
    assert ("ann", frozenset({Role.CALLER}), None) == (caller.name, caller.roles, caller.names)
    assert time.time() < caller.until <= time.time() + CHECKED_FOR_S


async def test_bearer_is_not_known_for_longer_than_the_token_holds(issuer: Issuer, jwks: str) -> None:
    """Its end comes first."""
    caller = await checker(jwks, leeway_s=0).check(issuer.token(exp=time.time() + 20))
    assert caller.until <= time.time() + 20


@pytest.mark.parametrize(
    ("claims", "reason", "message"),
    [
        ({"exp": time.time() - 3600}, Reason.EXPIRED_CREDENTIALS, "has expired"),
        ({"nbf": time.time() + 3600}, Reason.EXPIRED_CREDENTIALS, "not valid yet"),
        ({"exp": None}, Reason.INVALID_CREDENTIALS, "no claim exp"),
        ({"aud": "other"}, Reason.INVALID_CREDENTIALS, "another audience than predictmesh"),
        ({"aud": None}, Reason.INVALID_CREDENTIALS, "no claim aud"),
        ({"iss": "https://other.test"}, Reason.INVALID_CREDENTIALS, "an issuer that is not trusted"),
        ({"iss": None}, Reason.INVALID_CREDENTIALS, "no claim iss"),
        ({"sub": None}, Reason.INVALID_CREDENTIALS, "nobody's name"),
        ({"sub": "a\nb"}, Reason.INVALID_CREDENTIALS, "nobody's name"),
    ],
)
async def test_claims_that_do_not_hold(
    issuer: Issuer, jwks: str, claims: dict[str, Any], reason: Reason, message: str
) -> None:
    """A token that is signed well is not taken for that alone."""
    found, text = await refused(jwks, issuer.token(**claims))
    assert reason is found
    assert message in text


async def test_clocks_may_differ(issuer: Issuer, jwks: str) -> None:
    """By as much as the leeway, both ways."""
    assert "ann" == (await checker(jwks).check(issuer.token(exp=time.time() - 10))).name
    assert "ann" == (await checker(jwks).check(issuer.token(nbf=time.time() + 10))).name


async def test_stranger_s_signature(issuer: Issuer, jwks: str) -> None:
    """Who signs by a key of the same id is not the issuer."""
    stranger = Issuer()
    stranger.add("one")
    assert (Reason.INVALID_CREDENTIALS, "the token is not signed by its issuer") == await refused(
        jwks, stranger.token()
    )


async def test_changed_claims(issuer: Issuer, jwks: str) -> None:
    """A claim that is changed afterwards breaks the signature."""
    header, claims, signature = issuer.token().split(".")
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**said, "roles": ["operator"]}).encode()).decode().rstrip("=")
    assert Reason.INVALID_CREDENTIALS is (await refused(jwks, f"{header}.{forged}.{signature}"))[0]


async def test_unsigned(jwks: str) -> None:
    """alg: none is no algorithm."""
    token = jwt.encode(
        {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": time.time() + 60}, "", "none", {"kid": "one"}
    )
    assert Reason.INVALID_CREDENTIALS is (await refused(jwks, token))[0]


async def test_public_key_as_a_secret(issuer: Issuer, jwks: str) -> None:
    """A token that is signed by what is public, as by a shared secret, is not taken."""
    public = next(key for key in json.loads(issuer.jwks())["keys"] if key["kid"] == "rsa")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "rsa"}).encode()).decode().rstrip("=")
    claims = issuer.token("rsa").split(".")[1]
    secret = base64.urlsafe_b64decode(public["n"] + "==")
    import hmac  # noqa: PLC0415 - this forgery only

    signature = base64.urlsafe_b64encode(hmac.digest(secret, f"{header}.{claims}".encode(), "sha256")).decode()
    assert Reason.INVALID_CREDENTIALS is (await refused(jwks, f"{header}.{claims}.{signature.rstrip('=')}"))[0]


async def test_algorithm_of_another_kind_of_key(issuer: Issuer, jwks: str) -> None:
    """The key says which algorithms there are, not the token."""
    assert Reason.INVALID_CREDENTIALS is (await refused(jwks, issuer.token("one", headers={"kid": "rsa"})))[0]


async def test_keys_without_ids(tmp_path: Path) -> None:
    """Where an issuer gives its keys no ids each of them may have signed, and nobody else."""
    issuer, file = Issuer(), tmp_path / "jwks.json"
    for kid, algorithm in (("one", "ES256"), ("two", "ES256"), ("rsa", "RS256")):
        issuer.add(kid, algorithm)
    entries = json.loads(issuer.jwks())["keys"]
    file.write_text(json.dumps({"keys": [{k: v for k, v in each.items() if k != "kid"} for each in entries]}))
    for kid in ("one", "two", "rsa"):
        assert "ann" == (await checker(str(file)).check(issuer.token(kid, headers={}))).name
    assert Reason.EXPIRED_CREDENTIALS is (await refused(str(file), issuer.token("two", headers={}, exp=1)))[0]
    stranger = Issuer()
    stranger.add("one")
    assert Reason.INVALID_CREDENTIALS is (await refused(str(file), stranger.token(headers={})))[0]


DEEP = base64.urlsafe_b64encode(b"[" * 100_000).decode().rstrip("=")


@pytest.mark.parametrize(
    "token", [f"{DEEP}.e30.", "", "abc", "a.b.c", "....", "eyJhbGciOiJub25lIn0.e30.", "x" * 10_000, "\u2603.a.b"]
)
async def test_no_token_at_all(jwks: str, token: str) -> None:
    """What cannot be read is refused like anything else that is not known."""
    with pytest.raises(MeshError) as error:
        await checker(jwks).check(token)
    assert Reason.INVALID_CREDENTIALS is error.value.reason


@pytest.mark.parametrize(
    ("claims", "settings", "expected"),
    [
        ({"roles": ["caller", "releaser", "boss"]}, {}, {Role.CALLER, Role.RELEASER}),
        ({"roles": "caller releaser"}, {}, {Role.CALLER, Role.RELEASER}),
        ({"roles": None}, {}, set()),
        ({"roles": 7}, {}, set()),
        ({"roles": [{"a": 1}]}, {}, set()),
        ({"realm": {"roles": ["operator"]}}, {"roles_claim": "realm.roles"}, {Role.OPERATOR}),
        ({"https://a.test/roles": ["operator"]}, {"roles_claim": "https://a.test/roles"}, {Role.OPERATOR}),
        ({"realm": ["operator"]}, {"roles_claim": "realm.roles"}, set()),
        ({"groups": ["ml"]}, {"roles_claim": "groups", "role_names": {"ml": "releaser"}}, {Role.RELEASER}),
        ({"groups": ["operator"]}, {"roles_claim": "groups", "role_names": {"ml": "releaser"}}, set()),
        ({"roles": None}, {"default_roles": ["caller"]}, {Role.CALLER}),
    ],
)
async def test_roles(issuer: Issuer, jwks: str, claims: dict[str, Any], settings: Any, expected: set[Role]) -> None:
    """Roles come from the claim that is named, by the names that the issuer has for them, and from nowhere else."""
    assert expected == (await checker(jwks, **settings).check(issuer.token(**claims))).roles


@pytest.mark.parametrize(
    ("claims", "allowed"),
    [
        ({"endpoints": ["team/*", "Not A Name"]}, {"team/a"}),
        ({"endpoints": "team/a other"}, {"team/a", "other"}),
        ({}, set()),
        ({"endpoints": []}, set()),
    ],
)
async def test_endpoints(issuer: Issuer, jwks: str, claims: dict[str, Any], allowed: set[str]) -> None:
    """Where a claim names endpoints a token is good for those, and one without it for none."""
    caller = await checker(jwks, endpoints_claim="endpoints").check(issuer.token(**claims))
    assert allowed == {name for name in ("team/a", "other", "third") if caller.may_use(name)}


async def test_name_from_another_claim(issuer: Issuer, jwks: str) -> None:
    """A person may be told by a name that people read."""
    assert "ann@a.test" == (await checker(jwks, name_claim="email").check(issuer.token(email="ann@a.test"))).name
