"""The group of commands is quick, complete and says what each command does."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from services.cli.__main__ import COMMANDS, root
from tests.support.commands import run

HEAVY = {"grpc", "rich", "yaml", "pyarrow", "asyncio", "google.protobuf"}


def test_help_imports_no_command() -> None:
    """`predictmesh --help` imports nothing that a command needs."""
    code = (
        "import sys, json\n"
        "from services.cli.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set() == HEAVY & set(json.loads(output.splitlines()[-1]))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_short_help_is_the_commands_own(name: str) -> None:
    """The list of commands says of each the sentence that its own help begins with."""
    command = root.get_command(click.Context(root), name)
    assert command is not None
    assert COMMANDS[name] == (command.help or "").partition("\n")[0]


def leaves(command: click.Command) -> list[click.Command]:
    """Return the commands below `command`, or itself if it is one."""
    if not isinstance(command, click.Group):
        return [command]
    return [leaf for child in command.commands.values() for leaf in leaves(child)]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str) -> None:
    """Every command and option has a help text, and every command that answers something can do so as JSON."""
    command = root.get_command(click.Context(root), name)
    assert command is not None
    for leaf in leaves(command):
        assert leaf.help
        options = [option for option in leaf.params if isinstance(option, click.Option)]
        assert [] == [option.name for option in options if not option.help]
        # These say one thing, and that in JSON.
        assert name in {"envoy", "up"} or "as_json" in {option.name for option in options}


def test_no_arguments_show_the_help() -> None:
    """Without arguments the help is shown."""
    outcome = run()
    assert 0 == outcome.code
    assert "Commands:" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "error: No such command 'nonsense' (see predictmesh --help)"),
        (["predict"], "error: Missing argument 'ENDPOINT' (see predictmesh predict --help)"),
        (["predict", "x", "--entity", "carrier"], "'carrier' is not of the form NAME=VALUE"),
        (["predict", "x", "--timeout", "0s"], "must be longer than nothing"),
        (["predict", "x", "--as-of", "2013-10-01T12:00:00"], "is no RFC 3339 time"),
        (["apply"], "error: Missing option '-f' / '--file'"),
        (["up", "--port-base", "65530"], "65530 is not in the range"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    """What click refuses takes one line and exit code 2."""
    outcome = run(*arguments)
    assert (2, 1) == (outcome.code, outcome.err.count("\n"))
    assert message in outcome.err
