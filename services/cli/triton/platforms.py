"""Whether this machine can run the Triton that `predictmesh triton install` installs."""

from __future__ import annotations

import ctypes.util
import platform
import sys
import sysconfig
from pathlib import Path

from services.cli.triton.errors import NoTriton

PYTHON = "{}.{}".format(*sys.version_info[:2])
_OLDEST_GLIBC = (2, 35)
# NumPy 1 ends with the last of these.
_PYTHONS = ("3.11", "3.12")


def check() -> None:
    """Raise NoTriton if it would not run."""
    system = (platform.system(), platform.machine())
    if system != ("Linux", "x86_64"):
        raise NoTriton("Triton comes for Linux on x86_64, this is {} on {}".format(*system))
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split("."))) < _OLDEST_GLIBC:
        raise NoTriton(
            f"Triton needs glibc 2.35 or newer (Debian 12, Ubuntu 22.04), this is {library or 'another libc'} {version}"
        )
    if PYTHON not in _PYTHONS:
        raise NoTriton(f"Triton comes for Python {' and '.join(_PYTHONS)}, this is {PYTHON}")
    if not has_libpython():
        # Without it the server does not fail, it waits for ever for its Python processes.
        raise NoTriton(
            f"Triton needs the shared library of Python {PYTHON} (Debian: apt-get install libpython{PYTHON})"
        )


def has_libpython() -> bool:
    """Whether the shared library of this Python is there."""
    name = f"libpython{PYTHON}.so.1.0"
    return (library_directory() / name).exists() or ctypes.util.find_library(f"python{PYTHON}") is not None


def library_directory() -> Path:
    """Return where this Python's shared library lies unless the system has it."""
    return Path(str(sysconfig.get_config_var("LIBDIR")))
