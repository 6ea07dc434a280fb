"""Who changes the registry and why, for its log, and under which condition."""

from __future__ import annotations

import getpass
from collections.abc import Callable

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


def force_option(what: str) -> Callable[[Command], Command]:
    """Return a decorator that adds --force; `what` says what it does."""
    return click.option("--force", is_flag=True, help=f"{what}; needs --reason, and is in the log.")


def expected_revision_option(command: Command) -> Command:
    """Add --expected-revision, given as None where it is absent."""
    return click.option(
        "--expected-revision",
        metavar="N",
        type=click.IntRange(0, 2**64 - 1),
        help="Change nothing if the registry is not at this revision any more.",
    )(command)
