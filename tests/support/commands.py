"""Running the command line in this process, as a shell would see it."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import pytest

from services.cli.__main__ import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


def run(*arguments: object) -> Outcome:
    """Run `predictmesh ARGUMENTS...` and return what came of it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as exit_info:
        main([str(argument) for argument in arguments])
    code = exit_info.value.code
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


def succeed(*arguments: object) -> str:
    """Run `predictmesh ARGUMENTS...`, which must succeed, and return what it printed."""
    outcome = run(*arguments)
    assert outcome.code == 0, outcome.err
    return outcome.out
