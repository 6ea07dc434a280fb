"""The definitions in the guides are such as the command line takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from services.cli.resources.files import read_plan_file, read_resources, read_version_file

ROOT = Path(__file__).parents[3]
GUIDES = ("README.md", "deploy/composition.md", "deploy/releases.md")
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[object]:
    """Every file that a guide shows whole; parts of files name no kind, and are none of it."""
    shown = [
        (guide, number, text)
        for guide in GUIDES
        for number, text in enumerate(_BLOCK.findall((ROOT / guide).read_text()), 1)
    ]
    return [
        pytest.param(text, id=f"{guide}-{number}")
        for guide, number, text in shown
        if re.search("^kind:", text, re.MULTILINE) or text.startswith("# plan.yaml")
    ]


@pytest.mark.parametrize("text", blocks())
def test_files_in_guides(text: str, tmp_path: Path) -> None:
    """A file that a reader copies is read without a fault."""
    path = tmp_path / "file.yaml"
    path.write_text(text)
    if text.startswith("# plan.yaml"):
        assert read_plan_file(path).steps
    elif "kind: Version" in text:
        _, version = read_version_file(path)
        assert version.graph.nodes or version.bindings
    else:
        assert len(list(yaml.safe_load_all(text))) == len(read_resources([path]))
