"""Programs that some tests need beside the Python packages."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str) -> str:
    """Path of a program. Without it the test is skipped, or fails where CI=true promises that every part is there."""
    path = shutil.which(name)
    if path:
        return path
    missing = f"{name} is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
