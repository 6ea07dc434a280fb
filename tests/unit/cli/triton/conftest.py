"""A Triton of files only."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli.triton.installation import Installation
from services.cli.triton.platforms import PYTHON


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """An environment that holds the parts that are laid out."""
    made = Installation(Path("tritonserver"), tmp_path / "environment")
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        part = made.tree / "backends" / "python" / name
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(name)
    stub = made.tree / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
    stub.parent.mkdir(parents=True)
    stub.touch()
    return made
