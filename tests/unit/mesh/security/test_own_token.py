"""A service shows its key to others, the newest that its file holds, and keeps their refusals from its own callers."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.mesh import context as calls
from services.mesh.errors import Code, InvalidArgument, MeshError, Overloaded, Reason
from services.mesh.security.errors import ABOUT_CALLERS, IssuerUnavailable
from services.mesh.security.keys import PREFIX, digest, new_key
from services.mesh.security.own_token import OwnToken, of_ours


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file."""
    made = tmp_path / "token"
    made.write_text("pmk_first\n")
    return made


def test_newest_is_shown(file: Path) -> None:
    """A key that is replaced needs no restart."""
    token = OwnToken(file)
    assert (("authorization", "Bearer pmk_first"),) == token.metadata()
    file.write_text("pmk_second")
    assert (("authorization", "Bearer pmk_second"),) == token.metadata()


@pytest.mark.parametrize("text", ["", "\n", "two words", "pmk_\x00", "pmk_ä", None])
def test_file_that_cannot_be_used(file: Path, text: str | None) -> None:
    """It keeps a service from starting; later the key before is shown on. What it holds is not told."""
    token = OwnToken(file)
    file.unlink()
    if text is not None:
        file.write_text(text)
    assert (("authorization", "Bearer pmk_first"),) == token.metadata()
    with pytest.raises(InvalidArgument) as error:
        OwnToken(file)
    assert str(file) in error.value.message
    assert "pmk" not in error.value.message.replace(str(file), "")


@pytest.mark.parametrize("kind", ABOUT_CALLERS)
def test_refusal_of_another_service_is_no_fault_of_the_caller(kind: type[MeshError]) -> None:
    """Who asks for a prediction is not told that his key is bad because the gateway's is."""
    token = calls.use(calls.CallContext("r", "t", "", False))
    try:
        told = of_ours(kind("gateway may not call GetFeatures"))
    finally:
        calls.reset(token)
    assert (Code.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE) == (told.code, told.reason)
    assert "gateway may not" not in told.message


@pytest.mark.parametrize("kind", [Overloaded, IssuerUnavailable])
def test_other_failures_are_passed_on(kind: type[MeshError]) -> None:
    """They say something of the call."""
    error = kind("come back later")
    token = calls.use(calls.CallContext("r", "t", "", False))
    try:
        assert error is of_ours(error)
    finally:
        calls.reset(token)


def test_keys_are_new_and_long_and_told_by_their_beginning() -> None:
    """Nobody guesses one, and a scanner for secrets finds it."""
    made = {new_key() for _ in range(100)}
    assert 100 == len(made)
    assert all(each.startswith(PREFIX) and len(each) == len(PREFIX) + 43 for each in made)
    assert 32 == len(digest(made.pop()))
