"""The key or token that the command line shows, where services ask who calls."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import grpc

from services.cli.errors import Mistake

Command = TypeVar("Command", bound=Callable[..., Any])
VARIABLE = "PREDICTMESH_TOKEN"
FILE_VARIABLE = f"{VARIABLE}_FILE"


def token_option(command: Command) -> Command:
    """Add --token-file."""
    return click.option(
        "--token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        envvar=FILE_VARIABLE,
        show_envvar=True,
        help=f"File with the key or token to show, where services ask who calls; else {VARIABLE} holds it.",
    )(command)


def chosen_token(file: Path | None) -> str:
    """Return the token of the file, else that of the environment; empty if there is none. Mistake if it cannot be used."""
    if file is None:
        return os.environ.get(VARIABLE, "").strip()
    from services.mesh.errors import InvalidArgument
    from services.mesh.security.own_token import read_token

    try:
        return read_token(file)
    except InvalidArgument as error:
        raise Mistake(f"--token-file: {error.message}") from error


def showing(channel: grpc.Channel, token: str) -> grpc.Channel:
    """Return the channel, whose calls show the token if there is one."""
    return grpc.intercept_channel(channel, _Showing(token)) if token else channel


@dataclass
class _Details(grpc.ClientCallDetails):
    """What a call is made with."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Showing(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token to the metadata of every call."""

    def __init__(self, token: str) -> None:
        self._shown = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:  # noqa: ANN401 - of every kind
        """Make the call with the token."""
        made = _Details(
            details.method,
            details.timeout,
            (*(details.metadata or ()), self._shown),
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
        return continuation(made, request)

    # The types of each want calls of its own kind; what is done is the same.
    intercept_unary_stream = intercept_unary_unary  # type: ignore[assignment]
    intercept_stream_unary = intercept_unary_unary  # type: ignore[assignment]
    intercept_stream_stream = intercept_unary_unary  # type: ignore[assignment]
