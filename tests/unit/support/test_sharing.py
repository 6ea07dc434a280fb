"""What the tests of a folder share ends with the last of them, so that later ones have the machine for themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def shared() -> Iterator[Path]:
    """The folders whose tests share what their conftest makes for a package."""
    for conftest in ROOT.rglob("conftest.py"):
        if 'scope="package"' in conftest.read_text():
            yield conftest.parent


def test_folders_that_share_are_packages() -> None:
    """Else pytest takes the whole run for the package. Up to the root, as a module would have another name otherwise."""
    folders = list(shared())
    assert folders
    wanted = {
        parent / "__init__.py"
        for folder in folders
        for parent in (folder, *folder.parents)
        if parent.is_relative_to(ROOT)
    }
    assert set() == {file for file in wanted if not file.exists()}
