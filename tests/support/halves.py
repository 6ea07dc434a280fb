"""Tests that several processes run at once (`pytest -n 2`): those that share what runs stay together in one of them."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

# Folders whose files have nothing of each other's.
BY_FILE = {"features", "model", "registry", "triton"}


class Together(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Gives a process all tests that share what runs, one lot after the other in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return shared(nodeid)


def shared(nodeid: str) -> str:
    """Return what a test shares servers with: its folder where those of integration have a mesh, else its file."""
    file = nodeid.partition("::")[0]
    root, kind, *below = file.split("/")
    by_folder = kind == "integration" and below[0] not in BY_FILE
    return "/".join((root, kind, below[0])) if by_folder else file
