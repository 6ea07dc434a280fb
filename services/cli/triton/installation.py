"""The Triton that there is: one on PATH, else the one in the environment that `predictmesh triton install` makes."""

from __future__ import annotations

import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from services.cli.triton import platforms
from services.cli.triton.errors import NoTriton
from services.cli.triton.platforms import PYTHON

REQUIREMENTS = Path(__file__).parent / "requirements.txt"


@dataclass(frozen=True)
class Installation:
    """A server to start. `environment` is where its Python processes import from; None: it brings all that it needs."""

    binary: Path
    environment: Path | None

    @property
    def tree(self) -> Path:
        """Where the wheel keeps Triton's parts; for one with an environment."""
        assert self.environment is not None
        return _tree(self.environment)


def find() -> Installation:
    """Return the Triton to use. NoTriton if there is none."""
    if (binary := on_path()) is not None:
        return Installation(binary, None)
    platforms.check()
    environment = default_environment()
    if not is_whole(environment):
        raise NoTriton("no Triton is installed (`predictmesh triton install` does it)")
    return Installation(_tree(environment) / "bin" / "tritonserver", environment)


def on_path() -> Path | None:
    """Return the server that a command line would start."""
    found = shutil.which("tritonserver")
    return Path(found) if found else None


def default_environment() -> Path:
    """Return the environment beside this one, which goes with it."""
    return Path(sys.prefix) / "triton"


def is_whole(environment: Path) -> bool:
    """Whether an environment holds exactly what this release wants, for this Python."""
    try:
        return stamp_of(environment).read_text() == stamp()
    except OSError:
        return False


def stamp_of(environment: Path) -> Path:
    """Return the file that is written when an environment is whole."""
    return environment / "predictmesh-stamp"


def stamp() -> str:
    """Return what that file says: a digest of all that an environment depends on."""
    parts = [REQUIREMENTS.read_text(), sys.base_prefix, PYTHON]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _tree(environment: Path) -> Path:
    return environment / "lib" / f"python{PYTHON}" / "site-packages" / "pytriton" / "tritonserver"
