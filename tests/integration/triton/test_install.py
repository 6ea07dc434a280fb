"""Installing Triton: once, again after an interruption, and never half."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli.errors import Failure
from services.cli.triton import install as installing
from services.cli.triton import installation, platforms
from services.cli.triton.install import install
from services.cli.triton.installation import default_environment, is_whole
from tests.support.triton import installed_triton


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of requirements that stands for Triton's, which would be fetched."""
    file = tmp_path / "requirements.txt"
    monkeypatch.setattr(installing, "REQUIREMENTS", file)
    monkeypatch.setattr(installation, "REQUIREMENTS", file)
    monkeypatch.setattr(platforms, "check", lambda: None)
    return file


def ignore(text: str) -> None:
    """Take a note of progress."""


def test_installed_before() -> None:
    """The environment that is there is left as it is."""
    if installed_triton().environment is None:
        pytest.skip("a Triton on PATH stands before the one that is installed")
    notes: list[str] = []
    install(default_environment(), notes.append)
    assert [] == notes


def test_interrupted(tmp_path: Path, requirements: Path) -> None:
    """What an interruption left counts as nothing, and the next call replaces it; a change of requirements, too."""
    environment = tmp_path / "triton"
    left = environment / "left"
    left.mkdir(parents=True)
    requirements.write_text("# nothing\n")
    install(environment, ignore)
    assert is_whole(environment)
    assert not left.exists()
    requirements.write_text("# nothing else\n")
    assert not is_whole(environment)


def test_pip_fails(tmp_path: Path, requirements: Path) -> None:
    """Its last words are told, and what it left is not whole."""
    requirements.write_text(f"{tmp_path / 'missing.whl'}\n")
    with pytest.raises(Failure, match=r"pip cannot install Triton: .*missing\.whl"):
        install(tmp_path / "triton", ignore)
    assert not is_whole(tmp_path / "triton")


def test_no_place(tmp_path: Path, requirements: Path) -> None:
    """A directory that cannot be made is named."""
    requirements.touch()
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match=f"cannot make the environment {tmp_path / 'file' / 'triton'}"):
        install(tmp_path / "file" / "triton", ignore)
