"""Who changes the registry and why, for its log."""

from __future__ import annotations

import getpass

import click

from services.cli.options import Command


def actor() -> str:
    """Return the name of the user who runs the command; empty where the system knows none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def reason_option(command: Command) -> Command:
    """Add --reason."""
    return click.option("--reason", default="", help="Why, for the registry's log.")(command)
