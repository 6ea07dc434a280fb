"""Tests of a shared mesh run in the loop that it lives in."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest


def share_loop(items: list[pytest.Item], conftest: str) -> None:
    """Let every test beside or below a conftest run in the session's loop."""
    folder = Path(conftest).parent
    for item in items:
        function = getattr(item, "function", None)
        if folder in item.path.parents and inspect.iscoroutinefunction(function):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
