"""What the guides of deploy say can be followed: links lead somewhere, and overlays that they show can be rendered."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.kubernetes_schemas import RELEASES, core_faults, is_core
from tests.support.manifests import ROOT, SERVICES, build

DEPLOY = ROOT.parent
GUIDES = (DEPLOY / "README.md", DEPLOY / "triton.md")
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_OVERLAY = re.compile(r"^```yaml\n(# kustomization.yaml\n.*?)^```$", re.MULTILINE | re.DOTALL)
# Where a reader is taken to have this repository.
CHECKOUT = "../predictmesh/deploy/kubernetes"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_links_lead_somewhere(guide: Path) -> None:
    """To a file, and to a heading in it."""
    for path, anchor in _LINK.findall(guide.read_text()):
        target = guide.parent / path if path else guide
        assert target.exists(), path
        assert not anchor or anchor in _anchors(target), f"{path}#{anchor}"


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("number", range(len(_OVERLAY.findall(GUIDES[0].read_text()))))
def test_overlays_of_readers_can_be_rendered(tmp_path: Path, number: int) -> None:
    """And are such as Kubernetes takes."""
    text = _OVERLAY.findall(GUIDES[0].read_text())[number]
    (tmp_path / "kustomization.yaml").write_text(text.replace(CHECKOUT, os.path.relpath(ROOT, tmp_path)))
    resources = build(tmp_path)
    assert set(SERVICES) <= {each.name for each in resources.templates()}
    assert not [fault for each in resources if is_core(each) for fault in core_faults(each, RELEASES[0])]
