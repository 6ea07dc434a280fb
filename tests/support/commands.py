"""Running the command line in this process, as a shell would see it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from services.cli.__main__ import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    """Run `predictmesh ARGUMENTS...` and return what came of it."""
    with pytest.raises(SystemExit) as exit_info:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    code = exit_info.value.code
    assert isinstance(code, int)
    return Outcome(code, captured.out, captured.err)
