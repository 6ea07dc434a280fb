"""Directories that Triton loads from."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from services.mesh.errors import StoreUnavailable
from services.model.runtimes.triton_repository import TritonRepository, is_ours, triton_name
from services.model.versions import Signature, Version

NAME = "m--0123456789ab"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Bytes of a model."""
    path = tmp_path / "artifact"
    path.write_bytes(b"model")
    path.chmod(0o600)
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The repository."""
    return tmp_path / "repository"


@pytest.mark.parametrize("model", ["m", "ns/m", "a-b/c_d"])
def test_names_tell_ours_from_others(model: str) -> None:
    """By model and content."""
    name = triton_name(Version(model, "1.0.0", "0123456789abcdef", Signature((), ()), ()))
    assert model.replace("/", "--") + "--0123456789ab" == name
    assert is_ours(name)


@pytest.mark.parametrize("name", ["m", "m-0123456789ab", "m--0123456789aX", "M--0123456789ab", "m--0123456789ab.bak"])
def test_other_names_are_not_ours(name: str) -> None:
    """They are left alone."""
    assert not is_ours(name)


def test_a_model_is_written_so_that_another_user_can_read_it(directory: Path, artifact: Path) -> None:
    """Configuration and file, and nothing else."""
    TritonRepository(directory).write(NAME, "config", "model.onnx", artifact)
    assert "config" == (directory / NAME / "config.pbtxt").read_text()
    file = directory / NAME / "1" / "model.onnx"
    assert (b"model", 0o644) == (file.read_bytes(), file.stat().st_mode & 0o777)
    assert [NAME] == [path.name for path in directory.iterdir()]


def test_a_model_without_a_file_has_a_version_all_the_same(directory: Path, artifact: Path) -> None:
    """Triton wants its directory."""
    TritonRepository(directory).write(NAME, "config", "", artifact)
    assert [] == list((directory / NAME / "1").iterdir())


def test_what_is_there_is_replaced_only_if_it_differs(directory: Path, artifact: Path) -> None:
    """So that a full disk does not matter to what is there."""
    repository = TritonRepository(directory)
    repository.write(NAME, "one", "model.onnx", artifact)
    before = (directory / NAME).stat().st_ino
    repository.write(NAME, "one", "model.onnx", artifact)
    assert before == (directory / NAME).stat().st_ino
    repository.write(NAME, "two", "model.onnx", artifact)
    assert "two" == (directory / NAME / "config.pbtxt").read_text()
    (directory / NAME / "1" / "model.onnx").unlink()
    repository.write(NAME, "two", "model.onnx", artifact)
    assert (directory / NAME / "1" / "model.onnx").exists()


def test_an_artifact_on_another_file_system_is_copied(
    directory: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be linked."""
    monkeypatch.setattr(os, "link", _fail_with(errno.EXDEV))
    TritonRepository(directory).write(NAME, "config", "model.onnx", artifact)
    assert b"model" == (directory / NAME / "1" / "model.onnx").read_bytes()


def test_a_full_disk_is_told_and_leaves_nothing(
    directory: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the system's words, without a path."""
    monkeypatch.setattr(os, "link", _fail_with(errno.EXDEV))
    monkeypatch.setattr("shutil.copyfile", _fail_with(errno.ENOSPC))
    with pytest.raises(StoreUnavailable) as refused:
        TritonRepository(directory).write(NAME, "config", "model.onnx", artifact)
    assert "Triton's model repository cannot be written: No space left on device" == refused.value.message
    assert [] == list(directory.iterdir())


def test_a_missing_artifact_is_told(directory: Path, tmp_path: Path) -> None:
    """And nothing is left."""
    with pytest.raises(StoreUnavailable, match="No such file"):
        TritonRepository(directory).write(NAME, "config", "model.onnx", tmp_path / "none")
    assert [] == list(directory.iterdir())


def test_leftovers_are_found_and_removed(directory: Path, artifact: Path) -> None:
    """Once and again; those of others stay."""
    repository = TritonRepository(directory)
    assert set() == repository.names()
    repository.write(NAME, "config", "model.onnx", artifact)
    for other in ("theirs", ".unfinished-m--0123456789ab"):
        (directory / other).mkdir()
    assert {NAME} == repository.names()
    repository.remove_unfinished()
    repository.remove(NAME)
    repository.remove(NAME)
    assert ["theirs"] == [path.name for path in directory.iterdir()]


def _fail_with(number: int) -> object:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number), "/a/path")

    return fail
