"""When the pipeline has to run again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.demo.flight_delay import cache

IMPORTED = """
import sys, deploy.demo.flight_delay.pipeline
print(*(name for name in sys.modules if name.startswith("deploy.demo.flight_delay.")))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the pipeline."""
    return Path(shutil.copytree(cache.HERE, tmp_path / "pipeline"))


def test_every_module_that_the_pipeline_imports_is_in_the_fingerprint() -> None:
    """A file left out would leave stale models behind after a change."""
    command = [sys.executable, "-c", IMPORTED]
    names = subprocess.run(
        command, cwd=cache.HERE.parents[2], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {f"{name.rpartition('.')[2]}.py" for name in names} == {
        name for name in cache.SOURCES if name.endswith(".py")
    }


@pytest.mark.parametrize("name", ["graph.py", "resources.yaml", "versions/1.0.0.yaml"])
def test_a_changed_file_changes_the_fingerprint(folder: Path, name: str) -> None:
    """Even by a comment: the fingerprint does not judge."""
    before = cache.fingerprint(folder)
    with (folder / name).open("a") as file:
        file.write("# more\n")
    assert before != cache.fingerprint(folder)


def test_outputs_are_current_only_once_complete(tmp_path: Path) -> None:
    """A run that stopped half way leaves nothing that looks finished, even over outputs that were."""
    outputs = tmp_path / "outputs"
    assert not cache.is_current(outputs)
    cache.begin(outputs)
    cache.complete(outputs)
    assert cache.is_current(outputs)
    cache.begin(outputs)
    assert not cache.is_current(outputs)
