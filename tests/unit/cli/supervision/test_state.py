"""A data directory belongs to one `up` at a time, also after one was killed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from services.cli.errors import Mistake
from services.cli.supervision.state import owned, write_line
from services.cli.targets import read_up


def test_second_owner(tmp_path: Path) -> None:
    """A second `up` is told who is there; when that has gone, the directory is free."""
    with owned(tmp_path), pytest.raises(Mistake, match=rf"another .* \(pid {os.getpid()}\) runs on"), owned(tmp_path):
        pass
    with owned(tmp_path):
        pass


def test_line(tmp_path: Path) -> None:
    """The readiness line is there for others while it runs, and gone afterwards; a leftover goes at the start."""
    (tmp_path / "up.json").write_text("left by one that was killed")
    with owned(tmp_path):
        assert {} == read_up(tmp_path)
        write_line(tmp_path, {"ready": True})
        assert {"ready": True, "supervisor": os.getpid()} == read_up(tmp_path)
        assert json.loads((tmp_path / "up.json").read_text())
    assert not (tmp_path / "up.json").exists()


def test_directory_that_cannot_be(tmp_path: Path) -> None:
    """A file in the place of the directory is a mistake, not a crash."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Mistake, match="cannot use"), owned(tmp_path / "file"):
        pass
