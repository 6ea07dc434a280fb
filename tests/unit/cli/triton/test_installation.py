"""Which Triton is used, and why there may be none."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from services.cli.triton import installation, platforms
from services.cli.triton.choice import TritonMode, choose
from services.cli.triton.errors import NoTriton
from services.cli.triton.installation import default_environment, find, is_whole, stamp, stamp_of
from services.cli.triton.platforms import PYTHON
from tests.support.commands import run, succeed


@pytest.fixture(autouse=True)
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that could run one, and has none."""
    monkeypatch.setattr(platforms, "check", lambda: None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv("PREDICTMESH_MODEL_TRITON", raising=False)
    return tmp_path


def install() -> None:
    """Make an environment that counts as whole."""
    default_environment().mkdir()
    stamp_of(default_environment()).write_text(stamp())


def put_on_path(prefix: Path) -> Path:
    """Make a server that a command line would find."""
    binary = prefix / "path" / "tritonserver"
    binary.parent.mkdir()
    binary.touch(0o755)
    return binary


def test_none() -> None:
    """The message says what to do."""
    with pytest.raises(NoTriton, match="`predictmesh triton install`"):
        find()


def test_installed(prefix: Path) -> None:
    """The environment beside this one is used."""
    install()
    binary = prefix / "triton/lib" / f"python{PYTHON}" / "site-packages/pytriton/tritonserver/bin/tritonserver"
    assert (binary, prefix / "triton") == (find().binary, find().environment)


def test_on_path_first(prefix: Path) -> None:
    """A server on PATH is preferred: it may have a GPU."""
    install()
    binary = put_on_path(prefix)
    assert (binary, None) == (find().binary, find().environment)


def test_another_release(monkeypatch: pytest.MonkeyPatch, prefix: Path) -> None:
    """An environment that was made for other requirements, or not to the end, is none."""
    install()
    newer = prefix / "requirements.txt"
    newer.write_text("nvidia-pytriton==9.0.0\n")
    monkeypatch.setattr(installation, "REQUIREMENTS", newer)
    assert not is_whole(default_environment())
    assert not is_whole(prefix / "nowhere")


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_up_starts_what_there_is(mode: TritonMode) -> None:
    """Where one is installed it is started."""
    install()
    assert find() == choose(mode)


def test_up_without_one(caplog: pytest.LogCaptureFixture) -> None:
    """In `auto` the log says why there is none; where one is required that is a failure."""
    with caplog.at_level(logging.INFO):
        assert choose("auto") is None
    assert "models run without Triton: no Triton is installed" in caplog.text
    with pytest.raises(NoTriton):
        choose("required")


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_one_of_the_users_own(mode: TritonMode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment names one to the model service, none is started beside it."""
    install()
    monkeypatch.setenv("PREDICTMESH_MODEL_TRITON", "elsewhere:8001")
    assert choose(mode) is None


def test_off() -> None:
    """Nothing is started though it could be."""
    install()
    assert choose("off") is None


def test_check(prefix: Path) -> None:
    """`predictmesh triton check` names the server, or says in one line why there is none."""
    outcome = run("triton", "check")
    assert (1, True) == (outcome.code, outcome.err.startswith("error: no Triton is installed"))
    binary = put_on_path(prefix)
    assert f"Triton: {binary}\n" == succeed("triton", "check")
    assert {"binary": str(binary)} == json.loads(succeed("triton", "check", "--json"))


def test_install_where_one_is_on_path(prefix: Path) -> None:
    """Nothing is installed beside it."""
    put_on_path(prefix)
    assert 0 == run("triton", "install").code
    assert not default_environment().exists()
