"""Programs that some tests need beside the Python packages."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def program(name: str) -> str:
    """Path of a program. Without it the test is skipped, or fails where CI=true promises that every part is there."""
    path = shutil.which(name)
    if not path:
        lacking(f"{name} is not installed")
    return path


def lacking(missing: str) -> NoReturn:
    """Skip the test for what is missing, or fail it where CI=true promises that every part is there."""
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
