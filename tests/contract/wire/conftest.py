"""The shared mesh, called as clients of any language call it."""

from __future__ import annotations

import pytest

from tests.worlds.loop import share_loop


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder in the loop of the mesh."""
    share_loop(items, __file__)
