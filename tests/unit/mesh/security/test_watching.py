"""Changes of files are told, whatever becomes of what they are told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.mesh.security.watching import watching
from tests.support.waiting import eventually

EVERY_S = 0.01


class Told:
    """Counts what it is told, and does as it is told to."""

    def __init__(self) -> None:
        self.times = 0
        self.again = False
        self.error: Exception | None = None

    def changed(self) -> bool:
        """Take note of a change."""
        self.times += 1
        if self.error is not None:
            raise self.error
        return self.again


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to watch."""
    made = tmp_path / "file"
    made.write_text("one")
    return made


@pytest.fixture
def told() -> Told:
    """Who watches it."""
    return Told()


async def test_changes_are_told(file: Path, told: Told) -> None:
    """Each, and that there may have been one before: nobody knows what the file was when it was read."""
    async with watching([file], told.changed, every_s=EVERY_S):
        await eventually(lambda: told.times == 1)
        file.write_text("another")
        await eventually(lambda: told.times == 2)
        file.unlink()
        await eventually(lambda: told.times == 3)


async def test_failure_ends_nothing(file: Path, told: Told, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next change is told."""
    told.error = RecursionError("too deep")
    async with watching([file], told.changed, every_s=EVERY_S):
        await eventually(lambda: told.times == 1)
        file.write_text("another")
        await eventually(lambda: told.times == 2)
    assert "too deep" in caplog.text


async def test_told_again(file: Path, told: Told) -> None:
    """While it is asked for, though nothing changes."""
    told.again = True
    async with watching([file], told.changed, every_s=EVERY_S):
        await eventually(lambda: told.times > 5)
        told.again = False
        file.write_text("another")
        times = told.times
        await eventually(lambda: told.times > times)
