"""What `up` is told of who may call its services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from services.cli.errors import Mistake

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Access:
    """The access file of all services, and the file with the key that they show each other; None where they need none."""

    file: Path
    token: Path | None

    def settings(self, *, calls: bool) -> dict[str, str]:
        """Return the settings of a service; one that `calls` others shows them the key."""
        token = {"token_file": str(self.token.resolve())} if self.token is not None and calls else {}
        return {"access_file": str(self.file.resolve())} | token


def access_options(command: Command) -> Command:
    """Add --access-file and --services-token-file."""
    path = click.Path(exists=True, dir_okay=False, path_type=Path)
    token = click.option(
        "--services-token-file",
        type=path,
        metavar="FILE",
        help="File with the key, of the role service, that the services show each other, where there is an access file.",
    )(command)
    return click.option(
        "--access-file",
        type=path,
        metavar="FILE",
        help="YAML that says who may do what; `predictmesh keys create` makes its keys. Else everybody may do everything.",
    )(token)


def chosen_access(file: Path | None, token: Path | None, *, needs_token: bool) -> Access | None:
    """Return what the options say; None if they say nothing. Mistake if one of them lacks the other."""
    if file is None and token is not None:
        raise Mistake("--services-token-file is given with --access-file")
    if file is not None and token is None and needs_token:
        raise Mistake(
            "with --access-file the services have to show each other a key: --services-token-file names its file "
            "(`predictmesh keys create services --role service` makes one)"
        )
    return None if file is None else Access(file, token)
