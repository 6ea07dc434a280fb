"""The kubectl of this machine, or the one that `make kubectl` has installed."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.parts import program

INSTALLED = Path(__file__).parents[2] / ".venv" / "kubectl"


def kubectl() -> str:
    """Path of the program. Without it the test is skipped, or fails where CI=true promises that every part is there."""
    return shutil.which("kubectl", path=str(INSTALLED)) or program("kubectl")
