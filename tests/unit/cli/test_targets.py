"""A service is found by option, then the running `up`, then its default port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.errors import Mistake
from services.cli.targets import find_grpc, find_http, read_up


def leave_line(data: Path, supervisor: int) -> None:
    """Write what an `up` with that pid would have left."""
    line = {"gateway": "127.0.0.1:1", "http": {"gateway": "127.0.0.1:2"}, "supervisor": supervisor}
    (data / "up.json").write_text(json.dumps(line))


def test_order(tmp_path: Path) -> None:
    """The option wins over the running `up`, which wins over the default port."""
    assert "127.0.0.1:50051" == find_grpc("gateway", None, tmp_path).address
    assert "127.0.0.1:8080" == find_http("gateway", None, tmp_path).address
    leave_line(tmp_path, os.getpid())
    assert "127.0.0.1:1" == find_grpc("gateway", None, tmp_path).address
    assert "127.0.0.1:2" == find_http("gateway", None, tmp_path).address
    assert "mesh:9" == find_grpc("gateway", "mesh:9", tmp_path).address


def test_line_of_a_killed_up(tmp_path: Path) -> None:
    """What an `up` left that was killed counts for nothing."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    leave_line(tmp_path, gone.pid)
    assert {} == read_up(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "{}"])
def test_damaged_line(tmp_path: Path, content: str) -> None:
    """A damaged file is named, not guessed around."""
    (tmp_path / "up.json").write_text(content)
    with pytest.raises(Mistake, match=r"cannot read .*up\.json"):
        read_up(tmp_path)


def test_replicas() -> None:
    """Several addresses are so many replicas, called as `up` calls them."""
    target = find_http("features", "10.0.0.1:1,10.0.0.2:1", Path())
    assert [("features", "10.0.0.1:1"), ("features-2", "10.0.0.2:1")] == [
        (replica.name, replica.address) for replica in target.replicas
    ]
