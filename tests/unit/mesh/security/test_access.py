"""A token that has been checked is known for a while, and not for longer."""

from __future__ import annotations

from typing import Any, cast

import pytest

from services.mesh.errors import MeshError, Reason
from services.mesh.security import access
from services.mesh.security.access import Access, token_of
from services.mesh.security.access_file import AccessFile
from services.mesh.security.caller import Caller, Role
from services.mesh.security.tokens import TokenChecker

SPIFFE = "spiffe://cluster.local/ns/predictmesh/sa/gateway"


class Checker:
    """Finds every token good until the time that it is told."""

    until = 0.0

    async def check(self, token: str) -> Caller:
        return Caller(token, frozenset({Role.CALLER}), until=self.until)


class Clock:
    """Seconds since the epoch, as told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def checker() -> Checker:
    """Who checks tokens."""
    return Checker()


@pytest.fixture
def known(checker: Checker, clock: Clock) -> Access:
    """An access file with an issuer and a certificate."""
    file = AccessFile.model_validate({"peers": [{"identity": SPIFFE, "roles": ["service"]}]})
    return Access(file, cast("TokenChecker", checker), clock=clock)


async def test_token_is_known_until_its_time(known: Access, checker: Checker, clock: Clock) -> None:
    """After it, it has to be checked again."""
    checker.until = clock.now + 10
    assert known.of_token("t") is None
    await known.check("t")
    caller = known.of_token("t")
    assert caller is not None
    assert "t" == caller.name
    clock.now += 10
    assert known.of_token("t") is None


async def test_known_tokens_are_bounded(
    known: Access, checker: Checker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest have to be checked again."""
    monkeypatch.setattr(access, "MAX_CHECKED", 2)
    checker.until = clock.now + 10
    for token in "abc":
        await known.check(token)
    assert [True, False, False] == [known.of_token(token) is None for token in "abc"]


def test_what_looks_like_a_key_is_no_token(known: Access) -> None:
    """Nobody tries to read it as one."""
    with pytest.raises(MeshError) as error:
        known.of_token("pmk_nobody")
    assert Reason.INVALID_CREDENTIALS is error.value.reason


def test_certificate(known: Access) -> None:
    """Who has one that is listed needs no key."""
    assert frozenset({Role.SERVICE}) == known.of_peer(SPIFFE).roles


@pytest.mark.parametrize("identity", [None, "spiffe://cluster.local/ns/predictmesh/sa/other", ""])
def test_certificate_that_is_not_listed(known: Access, identity: str | None) -> None:
    """Whoever has another is told what else there is."""
    with pytest.raises(MeshError, match="authorization: Bearer") as error:
        known.of_peer(identity)
    assert Reason.MISSING_CREDENTIALS is error.value.reason


@pytest.mark.parametrize("header", ["Bearer  pmk_x ", "bearer pmk_x"])
def test_header(header: str) -> None:
    """Spaces around a token are not of it."""
    assert "pmk_x" == token_of(header)


@pytest.mark.parametrize("header", ["", "Bearer", "pmk_x", "Basic x", b"Bearer pmk_x"])
def test_header_without_a_token(header: Any) -> None:
    """It is told what a header looks like."""
    with pytest.raises(MeshError, match="authorization: Bearer") as error:
        token_of(header)
    assert "pmk_x" not in error.value.message
