"""An access file says who may do what; one that cannot act as written is refused in a line that tells no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from services.mesh.security.access_file import AccessFileError, read_access_file
from services.mesh.security.caller import Names, Role
from tests.support.access import key, secret

ISSUER: dict[str, Any] = {"issuer": "https://a.test", "audience": "predictmesh", "jwks": "https://a.test/jwks"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file, to be written."""
    return tmp_path / "access.yaml"


def test_everything(file: Path) -> None:
    """Keys, an issuer and certificates are read with what they may do."""
    peer = {"identity": "spiffe://cluster.local/ns/predictmesh/sa/gateway", "roles": ["service"]}
    entry = key("app", "caller", endpoints=["team/*", "flight-delay"])
    entry["expires"] = "2030-01-01T00:00:00Z"
    file.write_text(yaml.safe_dump({"keys": [entry], "jwt": ISSUER, "peers": [peer]}))
    found = read_access_file(file)
    assert ("app", (Role.CALLER,), ("team/*", "flight-delay")) == (
        found.keys[0].name,
        found.keys[0].roles,
        found.keys[0].endpoints,
    )
    assert found.jwt is not None
    assert ("sub", "roles", None) == (found.jwt.name_claim, found.jwt.roles_claim, found.jwt.endpoints_claim)
    assert (Role.SERVICE,) == found.peers[0].roles


@pytest.mark.parametrize("text", ["", "keys: []", "# nobody yet\n"])
def test_empty_file_lets_nobody_in(file: Path, text: str) -> None:
    """It is no mistake: a service may be closed."""
    file.write_text(text)
    assert ((), None, ()) == (read_access_file(file).keys, read_access_file(file).jwt, read_access_file(file).peers)


def test_missing_file(file: Path) -> None:
    """It is named."""
    with pytest.raises(AccessFileError, match=r"access.yaml: cannot be read: No such file"):
        read_access_file(file)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"key": []}, "key: Extra"),
        ({"keys": [{"name": "a", "roles": ["caller"]}]}, "keys.0.sha256"),
        ({"keys": [key("a")]}, "keys.0.roles"),
        ({"keys": [key("a", "admin")]}, "keys.0.roles.0"),
        ({"keys": [key("a", "caller", endpoints=[])]}, "keys.0.endpoints"),
        ({"keys": [key("a", "caller", endpoints=["Flight Delay"])]}, r"keys.0.endpoints.0.*\[namespace/\]name"),
        ({"keys": [key("a", "caller", expires="2030-01-01T00:00:00")]}, "keys.0.expires"),
        ({"keys": [key("a", "caller"), key("a", "caller")]}, "key name a is there twice"),
        ({"keys": [key("a", "caller"), {**key("a", "caller"), "name": "b"}]}, "sha256 .* is there twice"),
        ({"keys": [{**key("a", "caller"), "name": "a\nb"}]}, "keys.0.name"),
        *[
            ({"jwt": {**ISSUER, "jwks": jwks}}, "https:// is needed")
            for jwks in ("http://a.test/jwks", "ftp://a.test/jwks", "file:///etc/jwks", "data://,x", "https://", "://a")
        ],
        ({"jwt": {"issuer": "a", "jwks": "b"}}, "jwt.audience"),
        ({"jwt": {**ISSUER, "role_names": {"ml": "admin"}}}, "jwt.role_names.ml"),
        ({"peers": [{"identity": "a", "roles": []}]}, "peers.0.roles"),
        ([], "valid dictionary"),
    ],
)
def test_fault(file: Path, document: object, message: str) -> None:
    """The line names the file and where in it the fault is."""
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(AccessFileError, match=message) as error:
        read_access_file(file)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(file))


@pytest.mark.parametrize("text", ["keys: [", "'open", "a: : b", "keys: \x00", "[" * 100_000])
def test_no_yaml(file: Path, text: str) -> None:
    """The line names where it ends to be YAML."""
    file.write_text(text)
    with pytest.raises(AccessFileError, match=r"access.yaml: ") as error:
        read_access_file(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", ["sha256", "key", "name"])
def test_key_in_a_wrong_place_is_not_told(file: Path, field: str) -> None:
    """Who puts the key where its SHA-256 belongs does not find it in the log."""
    entry = {**key("a", "admin"), field: secret("a")}
    file.write_text(yaml.safe_dump({"keys": [entry]}))
    with pytest.raises(AccessFileError) as error:
        read_access_file(file)
    assert secret("a") not in str(error.value)


@pytest.mark.parametrize("jwks", ["http://127.0.0.1:8000/jwks", "http://localhost/jwks", "/etc/jwks.json"])
def test_keys_of_this_machine_need_no_https(file: Path, jwks: str) -> None:
    """Nobody is between."""
    file.write_text(yaml.safe_dump({"jwt": {**ISSUER, "jwks": jwks}}))
    found = read_access_file(file).jwt
    assert found is not None
    assert jwks == found.jwks


@pytest.mark.parametrize(
    ("patterns", "name", "expected"),
    [
        (["a"], "a", True),
        (["a"], "ab", False),
        (["a*"], "ab", True),
        (["team/*"], "team/a", True),
        (["team/*"], "teams/a", False),
        (["team/*"], "team/", True),
        (["*"], "", True),
        (["a", "b*c"], "bxxc", True),
        (["a", "b*c"], "bxx", False),
        (["a*b*c"], "axbxbxc", True),
        (["a*b*c"], "axcxb", False),
        (["ab*ba"], "aba", False),
        (["a.c"], "abc", False),
        (["*"], "team/a", True),
        (["a*"], "ab/c", False),
        (["*-a"], "team/x-a", False),
        (["team/*"], "team/a/b", False),
        (["*/a"], "team/a", True),
        (["t*m/a*c/d"], "team/abc/d", True),
        (["a"], "a\n", False),
        (["flight-*"], "x/flight-delay", False),
        ([], "a", False),
        ([], "", False),
    ],
)
def test_patterns(patterns: list[str], name: str, expected: bool) -> None:
    """A pattern matches all of a name, and only * stands for other text, of one namespace unless it stands alone."""
    assert expected is (name in Names(patterns))


@pytest.mark.parametrize("name", ["a" * 127, "a" * 126 + "b", "ab" * 63])
def test_pattern_of_many_stars(name: str) -> None:
    """It takes no longer to match, whatever name is made to have it tried in all ways."""
    assert name in Names(["*a" * 40 + "*"])
    assert name not in Names(["*a" * 40 + "*c"])


def test_names_that_are_too_long() -> None:
    """There are none such: nobody looks at a text of a megabyte."""
    assert "a" * 127 in Names(["*"])
    assert "a" * 128 not in Names(["*"])
    assert "a" * 1_000_000 not in Names(["a*a*a*a"])
