"""What Prometheus itself says of rules and queries."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.parts import program


def promtool(*arguments: str | Path) -> None:
    """Run promtool, and fail with what it says."""
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
