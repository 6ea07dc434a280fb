"""`predictmesh keys` makes keys that an access file knows by its entry, and says who may do what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from services.cli.commands.keys import command
from services.mesh.security.keys import PREFIX, digest
from tests.support.access import key


def run(*arguments: str) -> str:
    """Return what a command prints; it must not fail."""
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert 0 == done.exit_code, done.output
    return done.stdout


def test_key_and_entry(tmp_path: Path) -> None:
    """The entry, put into an access file as it is printed, is of the key."""
    made = run("create", "app", "--role", "caller", "--role", "writer", "--endpoint", "team/*", "--expires-in", "90d")
    key_, entry = made.split("\n", 1)
    assert key_.startswith(PREFIX)
    file = tmp_path / "access.yaml"
    file.write_text("keys:\n" + entry)
    [found] = yaml.safe_load(file.read_text())["keys"]
    assert (digest(key_).hex(), ["caller", "writer"], ["team/*"]) == (
        found["sha256"],
        found["roles"],
        found["endpoints"],
    )
    assert "app" in run("check", str(file))


def test_json() -> None:
    """For programs."""
    made = json.loads(run("create", "app", "--role", "caller", "--json"))
    assert {"name": "app", "sha256": digest(made["key"]).hex(), "roles": ["caller"]} == made["entry"]


def test_key_in_a_file(tmp_path: Path) -> None:
    """Nobody else can read it, it is not printed, and no file is written over."""
    file = tmp_path / "key"
    printed = run("create", "app", "--role", "caller", "--output", str(file))
    assert PREFIX not in printed
    assert yaml.safe_load(printed)[0]["sha256"] == digest(file.read_text().strip()).hex()
    assert 0o600 == file.stat().st_mode & 0o777
    again = CliRunner().invoke(command, ["create", "app", "--role", "caller", "--output", str(file)])
    assert (2, "cannot write") == (again.exit_code, again.output.partition("Error: ")[2][:12])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "app"], "--role"),
        (["create", "app", "--role", "boss"], "--role"),
        (["create", "app", "--role", "caller", "--endpoint", "Not A Name"], "--endpoint"),
        (["create", "app\n", "--role", "caller"], "name"),
    ],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    """They are named, and no key is made."""
    done = CliRunner().invoke(command, arguments)
    assert 2 == done.exit_code
    assert message in done.output
    assert PREFIX not in done.output


def test_check(tmp_path: Path) -> None:
    """Everybody who may do something is in the table; a faulty file is a mistake."""
    file = tmp_path / "access.yaml"
    issuer = {"issuer": "https://a.test", "audience": "b", "jwks": "/jwks", "default_roles": ["caller"]}
    peer = {"identity": "spiffe://a/b", "roles": ["service"]}
    old = key("old", "caller", expires="2020-01-01T00:00:00Z")
    file.write_text(yaml.safe_dump({"keys": [key("app", "caller"), old], "jwt": issuer, "peers": [peer]}))
    lines = run("check", str(file)).splitlines()
    assert ["by", "key", "key", "token", "certificate"] == [line.split()[0] for line in lines]
    assert "(over)" in lines[2]
    assert "caller and claim roles" in lines[3]
    assert 2 == len(json.loads(run("check", str(file), "--json"))["keys"])
    file.write_text("keys: 7")
    assert 2 == CliRunner().invoke(command, ["check", str(file)]).exit_code
