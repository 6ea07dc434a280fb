"""`predictmesh keys`: API keys, and the access file that they belong into."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from pydantic import ValidationError

from services.cli.errors import Mistake
from services.cli.options import Duration, json_option
from services.cli.output import note, print_json, print_table, print_yaml
from services.mesh.security.access_file import AccessFile, AccessFileError, Key, read_access_file
from services.mesh.security.caller import PATTERN, Role
from services.mesh.security.keys import digest, new_key


@click.group()
def command() -> None:
    """Make API keys, and check who may do what."""


@command.command("create")
@click.argument("name")
@click.option(
    "--role",
    "roles",
    type=click.Choice([role.value for role in Role]),
    multiple=True,
    required=True,
    help="What the key is good for. Repeat for more.",
)
@click.option(
    "--endpoint",
    "endpoints",
    multiple=True,
    metavar="PATTERN",
    help="Name that it is good for, in which * stands for text without / (alone: all). Repeat for more. Default: all.",
)
@click.option(
    "--expires-in", "expires_in_s", type=Duration(), help="How long it is good for, e.g. 90d. Default: for ever."
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write the key there instead."
)
@json_option
def create(
    name: str,
    roles: Sequence[str],
    endpoints: Sequence[str],
    expires_in_s: float | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Make a key for NAME, and print it once, with its entry for the `keys` of an access file.

    Nothing is stored: services know the key by the entry, and only who has the key has it.
    """
    wrong = [pattern for pattern in endpoints if not PATTERN.fullmatch(pattern)]
    if wrong:
        raise Mistake(f"--endpoint {wrong[0]!r} is no name, and no pattern of names")
    expires = (
        None if expires_in_s is None else datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=expires_in_s)
    )
    key = new_key()
    entry = _entry(name=name, sha256=digest(key).hex(), roles=roles, endpoints=endpoints or None, expires=expires)
    if output is not None:
        _write(output, key)
    if as_json:
        print_json({"entry": entry, **({"file": str(output)} if output else {"key": key})})
        return
    if output is None:
        note("The key, which is not shown again:")
        click.echo(key)
    note("Entry for the `keys` of the access file:")
    print_yaml([entry])


def _entry(**fields: object) -> dict[str, object]:
    """Return an entry as it stands in a file. Mistake for a field that cannot be."""
    try:
        return Key.model_validate(fields).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        [fault, *_] = error.errors()
        raise Mistake(f"{fault['loc'][0]}: {fault['msg']}") from error


@command.command("check")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def check(file: Path, as_json: bool) -> None:
    """Check an access file, and show who may do what."""
    try:
        found = read_access_file(file)
    except AccessFileError as error:
        raise Mistake(str(error)) from error
    if as_json:
        print_json(found.model_dump(mode="json", exclude_none=True))
        return
    print_table(["by", "who", "roles", "endpoints", "until"], _rows(found), "nobody may do anything")


def _rows(file: AccessFile) -> list[list[object]]:
    rows: list[list[object]] = [
        ["key", key.name, _listed(key.roles), _listed(key.endpoints or ("*",)), _until(key)] for key in file.keys
    ]
    if file.jwt is not None:
        roles = f"{_listed(file.jwt.default_roles)} and claim {file.jwt.roles_claim}".removeprefix(" and ")
        names = f"claim {file.jwt.endpoints_claim}" if file.jwt.endpoints_claim else "*"
        rows.append(["token", file.jwt.issuer, roles, names, ""])
    return rows + [
        ["certificate", peer.identity, _listed(peer.roles), _listed(peer.endpoints or ("*",)), ""]
        for peer in file.peers
    ]


def _until(key: Key) -> str:
    if key.expires is None:
        return ""
    return f"{key.expires:%Y-%m-%d %H:%M}Z" + (" (over)" if key.expires < datetime.now(UTC) else "")


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(texts)


def _write(path: Path, key: str) -> None:
    """Write the key where nobody else can read it, and over nothing that is there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Mistake(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
