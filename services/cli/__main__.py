"""Entry point: the group of commands, each imported only when it is used."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from services.cli.errors import one_line

# Short helps stand here, so that `predictmesh --help` imports no command.
COMMANDS = {
    "apply": "Create or update views, models and endpoints from YAML files.",
    "artifacts": "Delete artifacts that no version names any more.",
    "demo": "Train on real flights, serve, replay the test window, release versions on it, and compose them.",
    "endpoints": "List the endpoints and how to call them.",
    "envoy": "Run Envoy before the gateways, in the foreground: REST, grpc-web and gRPC on one port.",
    "events": "Show what has happened to the definitions, and who did it.",
    "explain": "Show every model input of a prediction and where it came from.",
    "features": "List feature views, read and write their values.",
    "graph": "Draw what answers an endpoint, and what goes along each edge.",
    "keys": "Make API keys, and check who may do what.",
    "models": "List, register and delete models and their versions.",
    "outcomes": "Say what came true of predictions, and take both out as training data.",
    "predict": "Ask ENDPOINT for a prediction.",
    "quality": "Show how good versions are, by what came true.",
    "registry": "Back up the registry, or restore it.",
    "release": "Put a version before callers step by step, and take it back.",
    "restart": "Restart services of the running `up`, all by default, one process at a time.",
    "shadow": "Show how the answers of a shadow compare.",
    "status": "Show every service, all replicas of it, the versions loaded and what is broken.",
    "trace": "Show where the time of a request went.",
    "triton": "Install Triton for `up`, or see why there is none.",
    "up": "Run all services on this machine, in the foreground.",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is called, so that the others cost nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Return the command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"services.cli.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Services are found by option, environment, the running `predictmesh up`, or default port, in this order.",
)
@click.version_option(package_name="predictmesh", message="%(prog)s %(version)s")
def root() -> None:
    """Online predictions over gRPC: run the services, define what they serve, and ask them."""


def main(args: Sequence[str] | None = None) -> None:
    """Run and exit: 0, or 2 for a mistake of the caller, or 1 for another failure. An error takes one line."""
    # What gRPC's core has to say of a connection, the error says better.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        code = root.main(args, prog_name="predictmesh", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except click.ClickException as error:
        click.echo(one_line(error), err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("aborted", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
