"""TLS of the command line's calls: whom it trusts, and what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from services.cli.errors import Mistake

if TYPE_CHECKING:
    import grpc

Command = TypeVar("Command", bound=Callable[..., Any])
OPTIONS = ("ca", "cert", "key")
_HELP = {
    "ca": "Authorities to trust, in PEM. With them calls are TLS, and whoever answers shows a certificate for its host.",
    "cert": "Certificate to show, in PEM, where services want one.",
    "key": "Its private key, in PEM.",
}


@dataclass(frozen=True)
class Tls:
    """PEM files: the authorities to trust, and the certificate to show with its key; both or none of the two."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what a channel takes. Mistake if a file cannot be read."""
        import grpc

        return grpc.ssl_channel_credentials(
            _read("--ca", self.ca),
            None if self.key is None else _read("--key", self.key),
            None if self.cert is None else _read("--cert", self.cert),
        )

    def line(self) -> dict[str, str]:
        """Return the files as the readiness line of `up` has them."""
        files = {"ca": self.ca, "cert": self.cert, "key": self.key}
        return {name: str(path.resolve()) for name, path in files.items() if path is not None}


def chosen(ca: Path | None, cert: Path | None, key: Path | None) -> Tls | None:
    """Return what the options say; None if they say nothing. Mistake if one of them lacks another."""
    if (cert is None) != (key is None):
        raise Mistake("--cert and --key are given together")
    if ca is None and cert is not None:
        raise Mistake("--cert and --key are given with --ca, which says whom to show them to")
    return None if ca is None else Tls(ca, cert, key)


def told(line: Mapping[str, Any]) -> Tls | None:
    """Return what the readiness line of an `up` says; None if its services are plain."""
    files = line.get("tls")
    return Tls(**{name: Path(path) for name, path in files.items()}) if files else None


def tls_options(command: Command) -> Command:
    """Add --ca, --cert and --key."""
    for name in reversed(OPTIONS):
        command = click.option(
            f"--{name}",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            envvar=f"PREDICTMESH_TLS_{name.upper()}_FILE",
            show_envvar=True,
            help=_HELP[name],
        )(command)
    return command


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Mistake(f"{option} {path}: {error.strerror}") from error
