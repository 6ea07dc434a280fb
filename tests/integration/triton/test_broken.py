"""`up` with a Triton that does not start."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from services.cli.supervision.ports import COUNT
from tests.support.valkey import wait_until
from tests.worlds.ports import port_row
from tests.worlds.up import command, up


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which there is a server that ends at once."""
    binary = tmp_path / "bin" / "tritonserver"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\nexit 7\n")
    binary.chmod(0o755)
    return os.pathsep.join((str(binary.parent), os.environ["PATH"]))


def test_auto(tmp_path: Path, path: str) -> None:
    """The services are ready without it, and it is started again and again."""
    with up(tmp_path, "--topology", "monolith", triton="auto", env={"PATH": path}) as running:
        wait_until(lambda: (tmp_path / "log").read_text().count("triton ended with status 7") >= 2, "another start")
        assert 0 == running.stop()


def test_required(tmp_path: Path, path: str) -> None:
    """It is an error, and no service is left."""
    line = command("up", "--data", str(tmp_path / "data"), "--port-base", str(port_row(COUNT)), "--triton", "required")
    done = subprocess.run(
        line, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (1, "") == (done.returncode, done.stdout)
    assert "error: triton ended with status 7 before it was ready; its output is above" in done.stderr
    assert not (tmp_path / "data" / "up.json").exists()
