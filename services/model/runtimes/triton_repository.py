"""Triton's model repository: a directory for each version, which Triton reads when it is told to load it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.mesh.errors import StoreUnavailable
from services.model.versions import Version

_CONFIG = "config.pbtxt"
_UNFINISHED = ".unfinished-"

_PART = r"[a-z0-9][a-z0-9_-]{0,62}"
_OURS = re.compile(rf"(?:{_PART}--)?{_PART}--[0-9a-f]{{12}}")


def triton_name(version: Version) -> str:
    """Return Triton's name for a version: one that no other content has, so that nothing is ever loaded over it."""
    return f"{version.model.replace('/', '--')}--{version.digest[:12]}"


def is_ours(name: str) -> bool:
    """Whether a model's name is one that this module gives; all others are somebody else's."""
    return _OURS.fullmatch(name) is not None


class TritonRepository:
    """The directory. It may hold models of others, which are left alone.

    Its methods block; they raise StoreUnavailable, whose message has the system's words but no path.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> set[str]:
        """Our names that have a directory; the repository itself is made if it is not there."""
        with _told("made or read"):
            self._directory.mkdir(parents=True, exist_ok=True)
            return {path.name for path in self._directory.iterdir() if is_ours(path.name)}

    def write(self, name: str, config: str, file: str, artifact: Path) -> None:
        """Put a model there, whole or not at all; nothing is done where it is there as it should be.

        Without a `file` name the model has no file of its own.
        """
        directory = self._directory / name
        if self._holds(directory, config, file):
            return
        unfinished = self._directory / f"{_UNFINISHED}{name}"
        with _told("written"):
            try:
                shutil.rmtree(unfinished, ignore_errors=True)
                (unfinished / "1").mkdir(parents=True)
                (unfinished / _CONFIG).write_text(config)
                if file:
                    _place(artifact, unfinished / "1" / file)
                shutil.rmtree(directory, ignore_errors=True)
                unfinished.replace(directory)
            except OSError:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise

    def remove(self, name: str) -> None:
        """Delete a model's directory; nothing if there is none."""
        with _told("written"):
            try:
                shutil.rmtree(self._directory / name)
            except FileNotFoundError:
                return

    def remove_unfinished(self) -> None:
        """Delete what an interrupted process has left half written."""
        with _told("written"):
            for path in self._directory.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(path)

    @staticmethod
    def _holds(directory: Path, config: str, file: str) -> bool:
        try:
            written = (directory / _CONFIG).read_text()
        except OSError:
            return False
        return written == config and (not file or (directory / "1" / file).is_file())


def _place(artifact: Path, target: Path) -> None:
    """Link the artifact, which costs nothing; copy it where it lies on another file system."""
    try:
        os.link(artifact, target)
    except OSError:
        shutil.copyfile(artifact, target)
    # Triton may be another user.
    target.chmod(0o644)


@contextmanager
def _told(done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreUnavailable(f"Triton's model repository cannot be {done}: {reason}") from error
