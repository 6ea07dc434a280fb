"""Options and option types that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from services.cli import durations
from services.cli.targets import Target, find_grpc
from services.cli.tls import OPTIONS as TLS_OPTIONS
from services.cli.tls import Tls, chosen, tls_options
from services.cli.tokens import chosen_token, token_option

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

Command = TypeVar("Command", bound=Callable[..., Any])


class Duration(click.ParamType[float]):
    """A length of time above zero, as seconds (float)."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        try:
            microseconds = durations.parse_us(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if microseconds <= 0:
            self.fail("must be longer than nothing", param, ctx)
        return microseconds / 1e6


class Moment(click.ParamType["Timestamp"]):
    """A moment in RFC 3339, as a Timestamp."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Timestamp:
        """Return the moment."""
        from google.protobuf.timestamp_pb2 import Timestamp

        if isinstance(value, Timestamp):
            return value
        moment = Timestamp()
        try:
            moment.FromJsonString(str(value))
        except ValueError:
            self.fail(f"{value!r} is no RFC 3339 time, e.g. 2013-10-01T12:00:00Z", param, ctx)
        return moment


class Assignment(click.ParamType[tuple[str, str]]):
    """`NAME=VALUE`, as a pair of texts; the value may be empty or hold further `=`."""

    name = "name=value"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return (name, value)."""
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not of the form NAME=VALUE", param, ctx)
        return name, text


@dataclass(frozen=True)
class Services:
    """What the options of a command say of where the services are, and how they are called."""

    given: dict[str, str | None]
    data: Path
    tls: Tls | None = None
    token: str = field(default="", repr=False)

    def grpc(self, service: str) -> Target:
        """Return the gRPC target of `service`."""
        return replace(find_grpc(service, self.given.get(service), self.data, self.tls), token=self.token)


def data_option(command: Command) -> Command:
    """Add --data, the directory of the `up` that the command is about."""
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(".predictmesh"),
        show_default=True,
        envvar="PREDICTMESH_DATA",
        help="Directory of `predictmesh up`: its state, and where its services are.",
    )(command)


def json_option(command: Command) -> Command:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")(command)


def triton_option(command: Command) -> Command:
    """Add --triton, given to the command as a TritonMode."""
    return click.option(
        "--triton",
        "triton_mode",
        type=click.Choice(["auto", "required", "off"]),
        default="auto",
        show_default=True,
        help="Start a Triton Inference Server, too: where one is installed, or else fail, or not.",
    )(command)


def timeout_option(default: str | None = "10s", note: str = "") -> Callable[[Command], Command]:
    """Return a decorator that adds --timeout, given in seconds to the command."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=Duration(),
        default=default,
        show_default=default is not None,
        help=f"Longest time to wait for an answer, e.g. 500ms.{note}",
    )


def gather(
    command: Callable[..., Any], into: str, make: Callable[..., object], names: Sequence[str]
) -> Callable[..., Any]:
    """Return `command` as one that takes the parameters `names`, and hands them on as one, made by `make`."""

    def run(**kwargs: Any) -> Any:  # noqa: ANN401 - stands for any command
        taken = {name: kwargs.pop(name) for name in names}
        return command(**kwargs, **{into: make(**taken)})

    # click reads the name, the help and the options from here.
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    return run


def connects(*names: str) -> Callable[[Command], Command]:
    """Return a decorator that adds --data, --token-file, those of TLS and an address for each of `names`, as `services`."""

    def decorate(command: Command) -> Command:
        gathered = gather(command, "services", _services, [*names, *TLS_OPTIONS, "token_file", "data"])
        run = token_option(tls_options(gathered))
        for name in reversed(names):
            run = click.option(
                f"--{name}",
                metavar="HOST:PORT",
                envvar=f"PREDICTMESH_{name.upper()}_ADDRESS",
                show_envvar=True,
                help=f"Address of the {name} service.",
            )(run)
        return data_option(run)  # type: ignore[return-value]  # the same command with fewer parameters

    return decorate


def _services(
    data: Path, ca: Path | None, cert: Path | None, key: Path | None, token_file: Path | None, **given: str | None
) -> Services:
    return Services(given, data, chosen(ca, cert, key), chosen_token(token_file))
