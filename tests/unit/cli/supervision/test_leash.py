"""The leash becomes its command, unless the parent has already gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from services.cli.supervision import leash

LEASH = str(Path(leash.__file__))


def run(parent: int) -> subprocess.CompletedProcess[str]:
    """Run a command on a leash held by `parent`."""
    command = [sys.executable, "-IS", LEASH, str(parent), "/bin/echo", "a b"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_becomes_the_command() -> None:
    """Arguments and output are the command's own."""
    assert (0, "a b\n") == (run(os.getpid()).returncode, run(os.getpid()).stdout)


def test_parent_that_has_gone() -> None:
    """With another parent than was promised the command does not start: nobody would end it."""
    assert (1, "") == (run(1).returncode, run(1).stdout)
