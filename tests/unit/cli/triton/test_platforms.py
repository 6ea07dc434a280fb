"""Where Triton cannot run it is refused with the reason, before anything is started that would hang."""

from __future__ import annotations

import ctypes.util
import platform
from pathlib import Path

import pytest

from services.cli.triton import platforms
from services.cli.triton.errors import NoTriton


@pytest.fixture(autouse=True)
def usable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that could run it."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.35"))
    monkeypatch.setattr(platforms, "PYTHON", "3.11")
    monkeypatch.setattr(platforms, "has_libpython", lambda: True)


def test_a_machine_that_can() -> None:
    """The oldest glibc that works is taken."""
    platforms.check()


def test_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no build for it."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(NoTriton, match="for Linux on x86_64, this is Linux on aarch64"):
        platforms.check()


@pytest.mark.parametrize(("found", "named"), [(("glibc", "2.31"), "glibc 2.31"), (("", ""), "another libc")])
def test_another_libc(monkeypatch: pytest.MonkeyPatch, found: tuple[str, str], named: str) -> None:
    """An old glibc, or none, is named beside what is needed."""
    monkeypatch.setattr(platform, "libc_ver", lambda: found)
    with pytest.raises(NoTriton, match=rf"needs glibc 2\.35 or newer .*, this is {named}"):
        platforms.check()


def test_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that it does not run with is named."""
    monkeypatch.setattr(platforms, "PYTHON", "3.13")
    with pytest.raises(NoTriton, match=r"for Python 3\.11 and 3\.12, this is 3\.13"):
        platforms.check()


def test_no_shared_library_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that brings it is named."""
    monkeypatch.setattr(platforms, "has_libpython", lambda: False)
    with pytest.raises(NoTriton, match=r"apt-get install libpython3\.11"):
        platforms.check()


@pytest.mark.parametrize(("own", "of_the_system"), [(True, False), (False, True), (False, False)])
def test_where_the_shared_library_may_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: bool, of_the_system: bool
) -> None:
    """Beside this Python, or where the system looks."""
    monkeypatch.undo()
    monkeypatch.setattr(platforms, "library_directory", lambda: tmp_path)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: name if of_the_system else None)
    if own:
        (tmp_path / f"libpython{platforms.PYTHON}.so.1.0").touch()
    assert (own or of_the_system) == platforms.has_libpython()
